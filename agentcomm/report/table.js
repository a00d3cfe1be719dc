"use strict";
// The heatmap: the measure that it shows, and the tooltip of the cell under the pointer or in focus.
(() => {
  const table = document.querySelector(".heat");
  const choices = document.querySelector("[data-switch]");
  if (!table || !choices) return;

  choices.addEventListener("change", (event) => {
    table.dataset.measure = event.target.value;
  });

  const tip = document.createElement("div");
  tip.id = "tooltip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  let owner = null;

  function show(cell) {
    if (owner === cell && !tip.hidden) return;
    hide();
    owner = cell;
    tip.replaceChildren(...[...cell.querySelector(".tip").children].map((child) => child.cloneNode(true)));
    tip.hidden = false;
    cell.setAttribute("aria-describedby", "tooltip");
    const box = cell.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const left = Math.min(Math.max(12, box.left + box.width / 2 - tip.offsetWidth / 2), room - tip.offsetWidth - 12);
    const below = box.bottom + 8;
    const fits = below + tip.offsetHeight < window.innerHeight || box.top < tip.offsetHeight + 60;
    const top = fits ? below : box.top - tip.offsetHeight - 8;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${top + window.scrollY}px`;
  }

  function hide() {
    tip.hidden = true;
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
  }

  const cellOf = (event) => event.target.closest("td");
  table.addEventListener("pointerover", (event) => {
    const cell = cellOf(event);
    if (cell) show(cell);
    else hide();
  });
  table.addEventListener("pointerleave", hide);
  table.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (cell) show(cell);
  });
  table.addEventListener("focusout", hide);

  // Arrow keys move between cells; Escape closes the tooltip.
  table.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (event.key === "Escape") return hide();
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || !move) return undefined;
    const row = table.rows[cell.parentElement.rowIndex + move[0]];
    const next = row && row.cells[cell.cellIndex + move[1]];
    if (next && next.matches("td")) {
      event.preventDefault();
      next.focus();
    }
    return undefined;
  });
})();
