"use strict";
// Show the tooltip of a mark on hover, tap or keyboard focus (arrow keys move within a chart).
const tip = document.getElementById("tip");
let marked = null;

function show(mark) {
  if (marked) marked.classList.remove("marked");
  marked = mark;
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("marked");
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect();
  const page = document.documentElement;
  const middle = Math.min(Math.max(box.left, 0) + box.width / 2, page.clientWidth);
  const left = Math.min(Math.max(middle - tip.offsetWidth / 2, 4), page.clientWidth - tip.offsetWidth - 4);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = left + "px";
  tip.style.top = (above >= 4 ? above : box.bottom + 8) + "px";
}

// Return the point nearest to the pointer, at most 24 px away, because points are hard to hit on a touch screen.
function near(svg, event) {
  let best = null, least = 24;
  for (const point of svg.querySelectorAll("circle.mark")) {
    const box = point.getBoundingClientRect();
    const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
    if (away < least) [best, least] = [point, away];
  }
  return best;
}

function pointed(event) {
  if (!(event.target instanceof Element)) return;
  const svg = event.target.closest("svg");
  show(svg ? event.target.closest(".mark") || near(svg, event) : null);
}

document.addEventListener("pointermove", pointed);
document.addEventListener("pointerdown", pointed);
document.addEventListener("focusin", (event) => show(event.target.closest(".mark")));
document.addEventListener("focusout", () => show(null));
window.addEventListener("scroll", () => show(null), { passive: true });

for (const svg of document.querySelectorAll("svg")) {
  const marks = [...svg.querySelectorAll(".mark")];
  // one tab stop per chart
  if (marks.length) marks[0].setAttribute("tabindex", "0");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") show(null);
    const at = marks.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = marks[Math.min(Math.max(at + step, 0), marks.length - 1)];
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}
