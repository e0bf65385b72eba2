// What the table of runs shows: a query, columns, order, groups, a baseline; kept in the browser and, but for columns and order, in the address.
import { setAddress, storedItem, storeItem } from "../shell/storage.js";

const KEY = "lab_runs_table_1";
const EMPTY = { where: "", columns: null, sort: "", descending: false, group: "", baseline: "" };

const kept = storedItem(KEY) || {};
const params = new URL(location.href).searchParams;
const choice = {
  ...EMPTY,
  ...Object.fromEntries(Object.keys(EMPTY).map((name) => [name, kept[name] ?? EMPTY[name]])),
  where: params.get("where") ?? kept.where ?? "",
};
let current = params.get("view") || (params.get("run") ? "list" : kept.view) || "list";

export const tableChoice = () => ({ ...choice });
export const shownView = () => (current === "table" ? "table" : "list");

const keep = () => {
  storeItem(KEY, { ...choice, view: shownView() });
  document.documentElement.dataset.runs = shownView();
};
export const chooseTable = (changes) => {
  Object.assign(choice, changes);
  keep();
  setAddress({ where: shownView() === "table" ? choice.where : "" });
};
export const showView = (view) => {
  current = view;
  keep();
  setAddress({ view: shownView() === "table" ? "table" : "", where: shownView() === "table" ? choice.where : "" });
};
if (document.documentElement) document.documentElement.dataset.runs = shownView();
