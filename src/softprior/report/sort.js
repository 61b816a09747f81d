// Headings become buttons that sort: one way, the other, as it was. Without script nothing is lost.
"use strict";
for (const table of document.querySelectorAll("table[data-key]")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, at) => {
    const numeric = heading.classList.contains("number");
    const orders = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    const key = (row) => {
      const cell = row.cells[at];
      if (!numeric) return cell.textContent.trim();
      return "mean" in cell.dataset ? Number(cell.dataset.mean) : null;
    };
    const compare = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const order = orders[(orders.indexOf(heading.getAttribute("aria-sort") ?? "none") + 1) % 3];
      for (const other of headings) other.removeAttribute("aria-sort");
      if (order !== "none") heading.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const rows = order === "none" ? original : [...original].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null); // the missing come last
        return sign * compare(x, y);
      });
      body.append(...rows);
    });
  });
}
