"""Components as plain JSON values, and back: what a recipe stores of a prior, penalty, teacher."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from torch import Tensor, nn

from softprior import checks, own, penalties, priors, teachers
from softprior.batch import Batch
from softprior.component import Component
from softprior.counts import Counts
from softprior.penalties import Penalty
from softprior.priors import Prior
from softprior.teachers import Setting, Teacher, TeacherSpec

Role: TypeAlias = Literal["prior", "penalty", "teacher"]
Objects: TypeAlias = Mapping[str, Any]  # what the user named, imported: by ``module:Name``
C = TypeVar("C", bound=Component)

BASES: dict[Role, type[Component]] = {"prior": Prior, "penalty": Penalty, "teacher": TeacherSpec}


def found(role: Role) -> Mapping[str, type[Component]]:
    """The package's own members of a family, by their short names."""
    families: dict[Role, Mapping[str, type[Component]]] = {
        "prior": priors.found(),
        "penalty": penalties.found(),
        "teacher": teachers.found(),
    }
    return families[role]


def short_name(role: Role, component: Component) -> str | None:
    """The file's name of one of the package's members; None for one of somebody's own."""
    known = found(role).items()
    return next((name for name, member in known if member is type(component)), None)


def to_record(role: Role, component: Component) -> dict[str, Any]:
    """Name and hyper-parameters; of one's own components the hash of their source, too."""
    if isinstance(component, _UNIMPORTED):
        stored: dict[str, Any] = json.loads(component.record)
        return stored
    fields = {f.name: getattr(component, f.name) for f in dataclasses.fields(component) if f.init}
    short = short_name(role, component)
    if short is None:
        where = own.origin(type(component))
        record = {"name": where.name, **fields, "source": where.source}
    else:
        record = {"name": short, **fields}
    if component.version != 1:
        record["version"] = component.version
    return record


def canonical(role: Role, component: Component) -> dict[str, Any]:
    """What of it decides a run: fields of the package's members at their defaults are left out."""
    record = to_record(role, component)
    member = found(role).get(record["name"])
    defaults = () if member is None else dataclasses.fields(member)
    for field in defaults:
        if field.name in record and record[field.name] == field.default:
            del record[field.name]
    return record


def check_storable(role: Role, component: Component) -> None:
    """Raise unless name and fields are all that there is to one of somebody's own.

    Raises:
        TypeError: it takes arguments that are no fields, or a field's value is no plain one.
        ValueError: a field's value is not finite, or its name is one that a record has already.
    """
    if isinstance(component, _UNIMPORTED):
        return
    kind = type(component)
    fields = [field.name for field in dataclasses.fields(component)]
    if lost := [name for name in inspect.signature(kind).parameters if name not in fields]:
        raise TypeError(
            f"{role} {kind.__name__} takes {', '.join(lost)}, which would be no part of the "
            "recipe: write @dataclass(frozen=True) above the class, and each as a field"
        )
    for name in fields:
        if name in _TAKEN:
            raise ValueError(
                f"{role} {kind.__name__} has a field {name!r}, and its record another: rename it"
            )
        _check_plain(f"{role} {kind.__name__}: {name}", getattr(component, name))


_TAKEN = ("name", "source", "version", "record")


def _check_plain(what: str, value: object) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_plain(what, item)
    elif not isinstance(value, (bool, int, float, str, type(None))):
        raise TypeError(
            f"{what} is {value!r:.60}; a recipe holds numbers, text, None and tuples of these"
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} must be finite, got {value}; None may stand for without a limit")


def from_record(role: Role, record: Mapping[str, Any] | str, objects: Objects) -> Any:
    """The component that a record names; a plain record of it where it must not be imported.

    Args:
        role: which family.
        record: the name, or name and fields.
        objects: classes of the user's own that he has named in this call.

    Raises:
        ValueError: an unknown name, or field, with the known ones.
    """
    fields = {"name": record} if isinstance(record, str) else dict(record)
    if "name" not in fields:
        raise ValueError(
            f"{role} needs its name beside {', '.join(fields) or 'nothing'}: such as "
            f'{{"name": {json.dumps(next(iter(found(role))))}}}'
        )
    name, source = str(fields.pop("name")), fields.pop("source", None)
    fields = {key: _tuples(value) for key, value in fields.items()}
    version = fields.pop("version", 1)
    known = found(role)
    if ":" in name:
        if name not in objects:
            if source is None:
                raise ValueError(
                    f"{role} {name} is somebody's own and was not imported: pass the object in "
                    f"Python, or name it on the command line, --{role} {name}"
                )
            return _unimported(role, {"name": name, **fields, "source": source, "version": version})
        member = check_class(role, name, objects[name])
    elif name in known:
        member = known[name]
    else:
        more = "; one of your own is named as package.module:Name"
        raise ValueError(checks.unknown(role, name, known) + more)
    if isinstance(record, Mapping) and version != _version(member, fields):
        return _unimported(role, {"name": name, **fields, "version": version})
    allowed = [f.name for f in dataclasses.fields(member) if f.init]
    for field in fields:
        if field not in allowed:
            raise ValueError(checks.unknown(f"field of {role} {name!r}", field, allowed))
    return member(**fields)


def _version(member: type[Component], fields: Mapping[str, Any]) -> int:
    """The version of the component that these fields make; as they may be of an earlier one, of
    the one with defaults where they make none."""
    try:
        return member(**fields).version
    except (TypeError, ValueError):
        return member().version


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_class(role: Role, name: str, found: Any) -> type[Component]:
    """Raise unless what the user named is a class of the family."""
    base = BASES[role]
    if not (isinstance(found, type) and issubclass(found, base)):
        raise TypeError(f"{name} must be a subclass of softprior's {base.__name__}, got {found!r}")
    return found


def imported(component: Component | None) -> bool:
    """Whether it can be asked for anything but its name."""
    return not isinstance(component, _UNIMPORTED)


@dataclass(frozen=True)
class UnimportedPrior(Prior):
    """What is stored of a prior whose code was not imported: enough for tables and reports."""

    strength: float
    record: str
    uses_teacher = True

    @property
    def label(self) -> str:
        return _label(self.record)

    def counts(self, batch: Batch) -> Counts:
        raise ValueError(_not_imported("prior", self.record))


@dataclass(frozen=True)
class UnimportedPenalty(Penalty):
    """What is stored of a penalty whose code was not imported."""

    weight: float
    record: str

    @property
    def label(self) -> str:
        return _label(self.record)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        raise ValueError(_not_imported("penalty", self.record))


@dataclass(frozen=True)
class UnimportedTeacher(TeacherSpec):
    """What is stored of a teacher whose code was not imported."""

    record: str

    @property
    def label(self) -> str:
        return _label(self.record)

    def build(self, student: nn.Module, setting: Setting) -> Teacher:
        raise ValueError(_not_imported("teacher", self.record))


_UNIMPORTED = (UnimportedPrior, UnimportedPenalty, UnimportedTeacher)


def _unimported(role: Role, record: dict[str, Any]) -> Component:
    if record["version"] == 1:
        del record["version"]
    text = json.dumps(record, sort_keys=True)
    if role == "prior":
        return UnimportedPrior(float(record.get("strength", 0)), text)
    if role == "penalty":
        return UnimportedPenalty(float(record.get("weight", 0)), text)
    return UnimportedTeacher(text)


def _label(record: str) -> str:
    return str(json.loads(record)["name"]).rpartition(":")[2]


def _not_imported(role: str, record: str) -> str:
    name = json.loads(record)["name"]
    if ":" not in name:
        return (
            f"{role} {name!r} has another version now than when its run was made: the run can be "
            "shown, and not be trained again"
        )
    return (
        f"{role} {name} is somebody's own and was not imported: to train with it name it, --{role} "
        f"{name}, or pass the object in Python"
    )
