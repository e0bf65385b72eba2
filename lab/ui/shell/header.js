// The bar on top of every page: where you are, the other pages, language and light or dark.
import { h, icon } from "./dom.js";
import { register } from "./parts.js";
import { pageLetters, shortcutButton } from "./shortcuts.js";
import { settleTheme, toggleTheme } from "./theme.js";
import { LANGUAGE, say } from "./words.js";

// gradio's own controls follow the browser's language; let them follow the switch instead
Object.defineProperty(navigator, "language", { configurable: true, get: () => (LANGUAGE === "zh" ? "zh-CN" : "en-US") });
Object.defineProperty(navigator, "languages", { configurable: true, get: () => [navigator.language] });
document.documentElement.lang = LANGUAGE === "zh" ? "zh-CN" : "en";
settleTheme();

const switchLanguage = () => {
  document.cookie = "lab_language=" + (LANGUAGE === "zh" ? "en" : "zh") + "; path=/; max-age=31536000; SameSite=Lax";
  location.reload();
};

// The first stops of Tab: past the bar, and to the places of a long page. `skips`: [[key of its words, id of its element]]
const skipLinks = (element, skips) => {
  const go = (event, find) => {
    const place = find();
    event.preventDefault();
    if (!place) return;
    if (!place.matches("a[href], button, input, select, textarea")) place.tabIndex = -1;
    place.scrollIntoView({ block: "start" });
    place.focus({ preventScroll: true });
  };
  const content = () => element.closest(".lab-head")?.nextElementSibling;
  const link = (key, to, find) => h("a", { href: "#" + to, onclick: (event) => go(event, find) }, say(key));
  const all = skips.map(([key, id]) =>
    h(
      "li",
      {},
      link(key, id, () => document.getElementById(id)),
    ),
  );
  return h("ul", { class: "lab-skips" }, h("li", {}, link("skip.content", CONTENT, content)), all);
};

const CONTENT = "lab-bar"; // what the address of the first skip link names: it is there from the start
// `pages`: [[name, address]]; `page`: the one that is open
const header = (element, { value: page, pages, skips }) => {
  document.title = "Delta Lab · " + say("page." + page);
  const mark = h(
    "svg:svg",
    { viewBox: "0 0 24 24", class: "lab-mark", "aria-hidden": "true" },
    h("svg:path", { d: "M2 8h20", class: "frozen" }),
    h("svg:path", { d: "M6 8v6l4 3h4l4-3V8", class: "trained" }),
    h("svg:circle", { cx: 18, cy: 8, r: 2.4, class: "node" }),
  );
  const link = ([name, to]) => h("a", { href: to, "aria-current": name === page ? "page" : false }, say("page." + name));
  const language = h("button", { type: "button", class: "lab-quiet", title: say("language.other.help"), onclick: switchLanguage }, say("language.other"));
  const theme = h(
    "button",
    { type: "button", class: "lab-quiet", title: say("theme.help"), "aria-label": say("theme.help"), onclick: toggleTheme },
    icon("theme"),
  );
  const nav = h("nav", { "aria-label": say("pages") }, pages.map(link));
  element.replaceChildren(
    skipLinks(element, skips),
    h("h1", { class: "lab-spoken" }, "Delta Lab"),
    h("h2", { class: "lab-spoken" }, say("page." + page)), // the cards' headings are of the third order
    h(
      "header",
      { class: "lab-bar", id: CONTENT },
      h("a", { href: "./", class: "lab-brand" }, mark, "Delta Lab"),
      nav,
      h("span", { class: "lab-gap" }),
      shortcutButton(pages, pageLetters(pages.map(([name]) => name))),
      language,
      theme,
    ),
  );
  element.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a narrow screen the bar is scrolled
};

register({ header });
