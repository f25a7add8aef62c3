// Sorts a table of numbers by the column whose head is clicked: numbers by size, then the rest by letters.
for (const head of document.querySelectorAll("table.numbers thead th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.title = "Sort by this column";
  head.append(button);
  button.addEventListener("click", () => {
    const rows = head.closest("table").tBodies[0], place = head.cellIndex;
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const text = (row) => row.cells[place].textContent.trim();
    const number = (row) => {
      const found = text(row).replace(/,/g, "").replace(/−/g, "-").match(/^[+-]?[\d.]+(?:e-?\d+)?([kMG]?)/);
      return found ? parseFloat(found[0]) * { "": 1, k: 1e3, M: 1e6, G: 1e9 }[found[1]] : Infinity;
    };
    const order = (a, b) => number(a) - number(b) || text(a).localeCompare(text(b));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    rows.append(...[...rows.rows].sort((a, b) => sign * order(a, b)));
  });
}
// Says of the mark that one points at what the table has: its mean, its interval, its n.
for (const image of document.querySelectorAll("img[data-told]")) {
  const marks = image.dataset.told.split("|").map((one) => one.match(/^(\S+) (\S+) (.*)$/).slice(1));
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.ariaHidden = "true";
  tip.hidden = true;
  image.before(tip);
  const show = (event) => {
    const box = image.getBoundingClientRect();
    const away = ([x, y]) => Math.hypot(box.left + x * box.width / 100 - event.clientX, box.top + y * box.height / 100 - event.clientY);
    const nearest = marks.reduce((one, other) => (away(other) < away(one) ? other : one));
    tip.hidden = away(nearest) > 16;
    tip.textContent = nearest[2];
    tip.style.left = `${event.clientX}px`;
    tip.style.top = `${event.clientY}px`;
  };
  image.addEventListener("pointermove", show);
  image.addEventListener("pointerdown", show);
  image.addEventListener("pointerleave", () => { tip.hidden = true; });
}
