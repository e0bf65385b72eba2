// What every chart has, and when plotly.js is there to draw it.
import { h } from "./dom.js";
import { say } from "./words.js";

export const UNUSED_BUTTONS = ["select2d", "lasso2d", "autoScale2d"];
const UNITS = ["", "B", " %", " s"];

// The value of a custom property of the style sheets: plotly knows none.
export const styleValue = (name) =>
  getComputedStyle(document.querySelector(".gradio-container") || document.body)
    .getPropertyValue(name)
    .trim();

export const resolvedColour = (colour) => (colour.startsWith("var(") ? styleValue(colour.slice(4, -1)) : colour);

// Plotly's own buttons say what they do in the language of the page, and the one that would upload a chart is not there.
export const plotConfig = (more = {}, unit = "") => ({
  locale: "lab" + unit,
  displaylogo: false,
  showSendToCloud: false,
  plotlyServerURL: "",
  responsive: true,
  modeBarButtonsToRemove: UNUSED_BUTTONS,
  ...more,
});

// Where fingers point the bar of buttons is always there: above the drawing, not over its newest points. In pixels.
const barRoom = () => (window.matchMedia?.("(hover: none)").matches ? 26 : 0);

// One stop of Tab for plotly's bar of buttons; arrows walk it.
const toolbar = (plot) => {
  const bar = plot.querySelector(".modebar");
  const buttons = [...plot.querySelectorAll(".modebar-btn")];
  if (!bar || bar.dataset.walked === String(buttons.length)) return;
  bar.dataset.walked = buttons.length;
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", say("charts.tools"));
  buttons.forEach((button, index) => {
    button.setAttribute("role", "button");
    button.setAttribute("aria-label", button.dataset.title || "");
    button.tabIndex = index ? -1 : 0;
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (["Enter", " "].includes(event.key) && button.tagName === "A") button.click();
      if (buttons[to]) buttons[to].focus();
    });
  });
};

// Draw with plotly. `words`: what is drawn, for those who do not see it; the drawing itself, whose texts make no sense one by one, is left out for them.
export const drawPlot = (plot, traces, asked, config, words) => {
  const room = config.displayModeBar === false ? 0 : barRoom();
  const layout = { ...asked, height: asked.height + room, margin: { ...asked.margin, t: asked.margin.t + room } };
  const drawn = Plotly.react(plot, traces, layout, config);
  let about = plot.nextElementSibling;
  if (!about?.matches(".lab-drawn")) plot.after((about = h("p", { class: "lab-spoken lab-drawn" })));
  if (about.textContent !== words) about.textContent = words;
  const finish = () => {
    plot.querySelectorAll("svg.main-svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    toolbar(plot);
  };
  finish();
  drawn?.then(finish, () => {});
};

const waiting = new Set();

// plotly.js of the installed wheel is run when the first chart is to be drawn: it is large, and a page has other things to show before.
// Whether charts can be drawn now; if not, `draw` is called as soon as they can.
export const canDraw = (draw) => {
  if (window.Plotly) return true;
  const takeAll = () => {
    const all = [...waiting];
    waiting.clear();
    return all;
  };
  const words = Object.entries(window.LAB_WORDS)
    .filter(([key]) => key.startsWith("plotly."))
    .map(([key, [english]]) => [english, say(key)]);
  const begin = () => {
    // a locale per unit: plotly leaves a suffix off between the powers of ten of a logarithmic axis, but not what d3 takes for a currency
    for (const unit of UNITS)
      Plotly.register({ moduleType: "locale", name: "lab" + unit, dictionary: Object.fromEntries(words), format: { currency: ["", unit] } });
    takeAll().forEach((one) => one());
  };
  if (!waiting.size) document.head.append(h("script", { src: window.LAB_PLOTLY, onload: begin, onerror: takeAll }));
  waiting.add(draw);
  return false;
};
