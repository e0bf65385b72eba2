// The methods that were saved on the bench, each to the bench or into the bin.
import { h } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { say } from "../shell/words.js";

const ownMethods = (element, server) => {
  const list = h("div", { class: "lab-own" });
  const card = h("section", { class: "lab-own-methods", hidden: true }, h("h3", {}, say("library.own")), list);
  element.replaceChildren(card);
  const item = (name) =>
    h(
      "article",
      { class: "lab-own-task", "data-method": name },
      h("b", {}, name),
      h("span", {}),
      h("a", { class: "lab-button", href: "./?method=" + encodeURIComponent(name) }, say("library.open")),
      h("button", { type: "button", class: "lab-button warn", onclick: () => emit("throw", { kind: "method", id: name, name }) }, say("act.delete")),
    );
  const load = async () => {
    const found = await server.own_methods({}).catch(() => null);
    if (!found) return;
    card.hidden = !found.own.length;
    list.replaceChildren(...found.own.map(item));
  };
  listen("binned", (change) => change.kind === "method" && load());
  load();
};

register({ ownMethods });
