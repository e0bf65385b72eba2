// The filter over the gallery's cards: a family, and words.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { say } from "../shell/words.js";

const gallery = (element) => {
  const count = h("span", { class: "lab-muted", role: "status" });
  const kinds = ["additive", "additive.adapters", "additive.soft-prompts", "additive.other", "reparameterised", "unified", "selective"];
  const family = h(
    "select",
    { id: "library-family", "aria-label": say("library.family"), onchange: () => sift() },
    h("option", { value: "" }, say("library.family.all")),
    kinds.map((kind) => h("option", { value: kind }, say("method." + kind))),
  );
  const of = (card) => card.closest(".lab-family").dataset.kind;
  const sift = () => {
    const words = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const cards = [...document.querySelectorAll("#library .lab-method")];
    for (const card of cards)
      card.hidden = !(words.every((word) => card.dataset.words.includes(word)) && (of(card) + ".").startsWith(family.value && family.value + "."));
    document.querySelectorAll("#library .lab-family").forEach((part) => {
      part.hidden = !part.querySelector(".lab-method:not([hidden])");
    });
    count.textContent = words.length || family.value ? say("library.count", { n: cards.filter((card) => !card.hidden).length }) : "";
  };
  const filter = h("input", { type: "search", placeholder: say("library.filter"), "aria-label": say("library.filter"), oninput: () => sift() });
  element.replaceChildren(family, filter, count);
};

register({ gallery });
