// Which runs of a list are chosen, at most so many; the address keeps them.
import { runsNamed, setAddress } from "./storage.js";

// `most`: so many at most; `fits(row, first)`: whether a row goes with the first one that is chosen; `first`: the newest
// is chosen where the address names none. Returns {ids(), rows(), full(row), turn(id), take(rows)}; `take` gives the ids that the address names
// and that are not there.
export const runChoice = ({ most, fits = () => true, first = false }) => {
  let ids = runsNamed(new URL(location.href).searchParams.get("runs"));
  let listed = [];
  let named = ids.length > 0; // by the address, or by a click
  let looked = false;
  const rows = () => ids.map((id) => listed.find((row) => row.id === id)).filter(Boolean);
  const full = (row) => !ids.includes(row.id) && (ids.length >= most || (ids.length > 0 && !fits(row, rows()[0])));
  const turn = (id) => {
    const row = listed.find((one) => one.id === id);
    if (!row || full(row)) return;
    named = true;
    ids = ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id];
    setAddress({ runs: ids.join(",") });
  };
  const take = (news) => {
    listed = news;
    const gone = looked ? [] : ids.filter((id) => !listed.some((row) => row.id === id));
    looked = true;
    ids = rows()
      .map((row) => row.id)
      .slice(0, most);
    if (first && !named && !ids.length && listed.length) ids = [listed[0].id];
    return gone;
  };
  return { ids: () => ids, rows, full, turn, take };
};
