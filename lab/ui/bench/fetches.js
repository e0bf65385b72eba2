// Under the pickers of model and task: what is not on this machine, with a button that fetches it, its size and how far it is.
import { h } from "../shell/dom.js";
import { emit } from "../shell/events.js";
import { LANGUAGE, say } from "../shell/words.js";

const LOOKED = 700; // milliseconds between two looks at a fetch that goes on

// what a picker calls a model or task: what is not here says so
export const titleOf = (item) => (item.there ? say("fetch.mark." + item.there, { name: item.title }) : item.title);

export class FetchLine {
  constructor(server, field) {
    Object.assign(this, { server, field, found: null, timer: 0, sized: "" });
    this.node = h("div", { class: "lab-fetch", "data-fetch": field, hidden: true });
  }

  // what the server says of it; the answer to a knob knows no size that only the hub has
  take(found) {
    clearTimeout(this.timer);
    const before = this.found;
    if (found && before && before.name === found.name && !found.size) found.size = before.size;
    this.found = found;
    this.draw();
    if (!found) return;
    if (found.state === "going") this.timer = setTimeout(() => this.act(""), LOOKED);
    if (found.state === "here" && before && before.name === found.name && before.state === "going") emit("again"); // the verdict is asked anew
    if (found.state === "fetchable" && !found.size && this.sized !== found.name) {
      this.sized = found.name;
      this.act("size");
    }
  }

  async act(act) {
    const { name } = this.found;
    const asked = { field: this.field, name, act, language: LANGUAGE };
    const found = await this.server.fetching(asked).catch(() => ({ ...this.found, sentence: say("bench.lost"), lost: true }));
    if (!this.found || this.found.name !== name) return; // another one was picked meanwhile
    if (act === "size" && found.state === "wrong") return; // that the hub cannot be asked is said when it is to be fetched
    this.take({ ...found, name });
  }

  draw() {
    const { found, node } = this;
    node.hidden = !found || found.state === "here";
    if (node.hidden) return node.replaceChildren();
    const button = (act, words) => h("button", { type: "button", class: "lab-button", "data-act": act, onclick: () => this.act(act) }, words);
    const line = (text, wrong) => h("p", { class: wrong ? "lab-said wrong" : "lab-muted", role: wrong ? "alert" : "status" }, text);
    const bar = () =>
      h("progress", { "aria-label": say("fetch.going", { name: found.name }), max: 100, ...(found.share === null ? {} : { value: found.share }) });
    const begin = () => button("start", found.size ? say("fetch.start.size", { size: found.size }) : say("fetch.start"));
    const parts = {
      absent: () => [line(found.words)],
      fetchable: () => [line(say("fetch.fetchable")), begin()],
      cancelled: () => [line(say("fetch.cancelled")), begin()],
      wrong: () => [line(found.sentence, true), begin()],
      going: () => [
        line((found.words || found.name) + ": " + say(found.size ? "fetch.so.far.of" : "fetch.so.far", found)),
        bar(),
        button("cancel", say("fetch.cancel")),
      ],
    };
    const focused = node.contains(document.activeElement);
    node.replaceChildren(...parts[found.state](), found.lost ? line(found.sentence, true) : "");
    if (focused) node.querySelector("button")?.focus({ preventScroll: true });
  }
}
