// The bench's design in its address: what the page starts from, and the address that follows the knobs.
import { addressParameters, setAddressParameters, storedDraft, storedTabItem, storeTabItem } from "../shell/storage.js";

const OWN = "lab_bench_address_1"; // of this tab: the address that is its own draft's
const PAUSE = 400; // milliseconds without a change, after which the address follows
const written = (parameters) => String(new URLSearchParams(parameters));

// The draft that the page starts from. What an address says that this tab did not write itself is read by the server: `run`, or `link`, the parameters of a design.
export const startingDraft = (usual) => {
  const draft = storedDraft() || structuredClone(usual);
  const asked = addressParameters();
  if (!Object.keys(asked).length || written(asked) === storedTabItem(OWN)) return draft;
  return asked.run ? { ...draft, run: asked.run } : { ...draft, link: asked };
};

let waiting = null;
// `parameters`: of the design as it is now; none where it is no design yet, while the address keeps the last one.
export const followDesign = (parameters) => {
  if (!parameters || !Object.keys(parameters).length) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    setAddressParameters(parameters);
    storeTabItem(OWN, written(parameters));
  }, PAUSE);
};

// The address of a design, to give to somebody.
export const designAddress = (parameters) => location.origin + location.pathname + "?" + written(parameters);
