// Helpers that all pages share: words, elements, events between parts of a page, the header, language and theme.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const cookie = (name) => (document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)")) || [])[1];
  const wanted = cookie("lab_language") || ((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");
  Lab.language = wanted === "zh" ? "zh" : "en";
  // gradio's own controls follow the browser's language; let them follow the switch instead
  Object.defineProperty(navigator, "language", { configurable: true, get: () => (Lab.language === "zh" ? "zh-CN" : "en-US") });
  Object.defineProperty(navigator, "languages", { configurable: true, get: () => [navigator.language] });
  document.documentElement.lang = Lab.language === "zh" ? "zh-CN" : "en";

  const themeKept = () => { try { return localStorage.getItem("lab_theme"); } catch { return null; } };
  const address = new URL(location.href);
  if (themeKept() && !address.searchParams.has("__theme")) {
    address.searchParams.set("__theme", themeKept());
    history.replaceState(null, "", address);
  }

  Lab.say = (key, values = {}) => {
    const pair = (window.LAB_WORDS || {})[key];
    if (!pair) return key;
    return pair[Lab.language === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
  };
  Lab.metric = (name) => (name.startsWith("f1:") ? Lab.say("curve.f1.of", { label: name.slice(3) }) : (window.LAB_WORDS || {})["curve.eval_" + name] ? Lab.say("curve.eval_" + name) : name.replaceAll("_", " "));
  Lab.pick = (english, chinese) => (Lab.language === "zh" && chinese ? chinese : english);

  // h("button", {class: "x", onclick: f, "aria-label": "y"}, "text", child): an element; text is never read as HTML
  Lab.h = (tag, attributes = {}, ...children) => {
    const svg = tag.startsWith("svg:");
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (["value", "checked", "disabled", "selected", "open", "indeterminate"].includes(name) && !svg) node[name] = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
    return node;
  };

  const ICONS = { copy: "M5 5V2.5h8.5V11H11M2.5 5H11v8.5H2.5Z", close: "M4 4l8 8M12 4l-8 8", add: "M8 3v10M3 8h10", theme: "M8 2a6 6 0 1 0 0 12ZM8 2a6 6 0 0 1 0 12" };
  Lab.icon = (name) => Lab.h("svg:svg", { viewBox: "0 0 16 16", class: "lab-glyph", "aria-hidden": "true" }, Lab.h("svg:path", { d: ICONS[name] }));

  // the functions of a part on the server; each throws where no answer came (gradio's own then give nothing)
  Lab.served = (server) => new Proxy(server, { get: (at, name) => async (...asked) => {
    const found = await at[name](...asked);
    if (found === undefined || found === null) throw new Error("no answer");
    return found;
  } });

  const listeners = {};
  Lab.on = (name, fn) => (listeners[name] = listeners[name] || []).push(fn);
  Lab.emit = (name, value) => (listeners[name] || []).forEach((fn) => fn(value));

  Lab.setAddress = (changes) => {
    const url = new URL(location.href);
    for (const [key, value] of Object.entries(changes)) value ? url.searchParams.set(key, value) : url.searchParams.delete(key);
    history.replaceState(history.state, "", url);
  };
  // what the server sends as JSON text: gradio walks through everything else at every change of a part's value, which takes longer than drawing it
  Lab.parsed = (value) => { if (typeof value !== "string") return value; try { return JSON.parse(value); } catch { return null; } };
  Lab.keep = (key, value) => { try { value === null ? localStorage.removeItem(key) : localStorage.setItem(key, JSON.stringify(value)); } catch {} };
  Lab.kept = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };

  // what every chart has: plotly's own buttons say what they do in the language of the page, and the one that would upload a chart is not there
  const UNITS = ["", "B", " %", " s"];
  Lab.UNUSED = ["select2d", "lasso2d", "autoScale2d"];
  Lab.config = (more = {}, unit = "") => ({ locale: "lab" + unit, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true, modeBarButtonsToRemove: Lab.UNUSED, ...more });

  // plotly.js of the installed wheel is run when the first chart is to be drawn: it is large, and a page has other things to show before.
  // Whether charts can be drawn now; if not, `draw` is called as soon as they can.
  const waiting = new Set();
  Lab.canDraw = (draw) => {
    if (window.Plotly) return true;
    const end = () => { const all = [...waiting]; waiting.clear(); return all; };
    const words = Object.entries(window.LAB_WORDS).filter(([key]) => key.startsWith("plotly.")).map(([key, [english]]) => [english, Lab.say(key)]);
    const begin = () => {
      // a locale per unit: plotly leaves a suffix off between the powers of ten of a logarithmic axis, but not what d3 takes for a currency
      for (const unit of UNITS) Plotly.register({ moduleType: "locale", name: "lab" + unit, dictionary: Object.fromEntries(words), format: { currency: ["", unit] } });
      end().forEach((one) => one());
    };
    if (!waiting.size) document.head.append(Lab.h("script", { src: window.LAB_PLOTLY, onload: begin, onerror: end }));
    waiting.add(draw);
    return false;
  };

  Lab.copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = Lab.h("textarea", { class: "lab-offscreen" }); area.value = text;
      document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    if (button) { const old = button.textContent; button.textContent = Lab.say("copied"); setTimeout(() => (button.textContent = old), 1200); }
  };

  Lab.dark = () => document.body.classList.contains("dark");
  let wasDark = null;
  const themeChanged = () => { if (wasDark !== Lab.dark()) { wasDark = Lab.dark(); Lab.emit("theme", wasDark); } };
  document.addEventListener("DOMContentLoaded", () => new MutationObserver(themeChanged).observe(document.body, { attributes: true, attributeFilter: ["class"] }));

  const PAGES = [["bench", "./"], ["library", "library"], ["data", "data"], ["runs", "runs"], ["compare", "compare"], ["sweep", "sweep"], ["tryit", "tryit"], ["export", "export"]];
  Lab.header = (element, page) => {
    const { h, say } = Lab;
    document.title = "Delta Lab · " + say("page." + page);
    const mark = h("svg:svg", { viewBox: "0 0 24 24", class: "lab-mark", "aria-hidden": "true" },
      h("svg:path", { d: "M2 8h20", class: "frozen" }), h("svg:path", { d: "M6 8v6l4 3h4l4-3V8", class: "trained" }), h("svg:circle", { cx: 18, cy: 8, r: 2.4, class: "node" }));
    const link = ([name, to]) => h("a", { href: to, "aria-current": name === page ? "page" : false }, say("page." + name));
    const language = h("button", { type: "button", class: "lab-quiet", title: say("language.other.help"), onclick: () => {
      document.cookie = "lab_language=" + (Lab.language === "zh" ? "en" : "zh") + "; path=/; max-age=31536000; SameSite=Lax";
      location.reload();
    } }, say("language.other"));
    const theme = h("button", { type: "button", class: "lab-quiet", title: say("theme.help"), "aria-label": say("theme.help"), onclick: () => {
      const dark = !Lab.dark();
      try { localStorage.setItem("lab_theme", dark ? "dark" : "light"); } catch {}
      document.body.classList.toggle("dark", dark);
      Lab.setAddress({ __theme: dark ? "dark" : "light" });
    } }, Lab.icon("theme"));
    element.replaceChildren(h("header", { class: "lab-bar" }, h("a", { href: "./", class: "lab-brand" }, mark, "Delta Lab"),
      h("nav", { "aria-label": say("pages") }, PAGES.map(link)), h("span", { class: "lab-gap" }), language, theme));
    element.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a narrow screen the bar is scrolled
  };

  // buttons inside HTML from the server that are heard by another part of the page
  Lab.emitting = (element) => element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-emit]");
    if (button) Lab.emit(button.dataset.emit);
  });

  // HTML made by the server (every text in it is escaped there); nothing else is ever read as HTML
  Lab.fill = (element, html) => { element.innerHTML = html; };
  // A part whose value is such HTML
  Lab.show = (element, props, watch) => {
    const draw = () => { Lab.fill(element, props.value || ""); Lab.emit("shown", element); };
    watch("value", draw);
    draw();
  };
})();
