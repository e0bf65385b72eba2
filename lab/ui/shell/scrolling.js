// What is longer than its box says so: its edge fades where more of it follows (lab.css), and the keyboard reaches it.
const BOXES =
  ".lab-scroll, .lab-figure, .lab-equation, .lab-row1, .lab-formula, .lab-knobs, .lab-list, .lab-side, .lab-log, .lab-code, .lab-bar nav, .table-wrap";
const INSIDE = "a[href], button:not([tabindex='-1']), input:not([tabindex='-1']), select, textarea, summary, [tabindex='0']";
const SLACK = 2; // pixels that rounding may leave

// {side: whether more of it lies beyond} of a box
const beyond = (box) => ({
  left: box.scrollLeft > SLACK,
  right: box.scrollWidth - box.clientWidth - box.scrollLeft > SLACK,
  above: box.scrollTop > SLACK,
  below: box.scrollHeight - box.clientHeight - box.scrollTop > SLACK,
});

const scrolls = (style) => /auto|scroll/.test(style.overflowX + style.overflowY);
const mark = (box) => {
  const more = beyond(box);
  const some = Object.values(more).some(Boolean) && scrolls(getComputedStyle(box));
  box.classList.toggle("lab-more", some);
  for (const [side, on] of Object.entries(more)) box.classList.toggle("lab-more-" + side, some && on);
  const own = box.dataset.reached === "yes";
  if (some && !own && !box.hasAttribute("tabindex") && !box.querySelector(INSIDE)) {
    box.tabIndex = 0;
    box.dataset.reached = "yes";
  } else if (own && !some) {
    box.removeAttribute("tabindex");
    delete box.dataset.reached;
  }
};

const REST = 120; // milliseconds after the last change of the page: what a turned knob changes is drawn first
const watched = new WeakSet();
let timer = 0;
const sizes = typeof ResizeObserver === "undefined" ? null : new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
const look = () => {
  for (const box of document.querySelectorAll(BOXES)) {
    if (watched.has(box)) {
      mark(box); // what is in it may be another
      continue;
    }
    watched.add(box);
    box.addEventListener("scroll", () => mark(box), { passive: true });
    sizes.observe(box); // calls at once, too
  }
};
if (sizes)
  new MutationObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(look, REST);
  }).observe(document.documentElement, { childList: true, subtree: true });
