// Numbers as charts and tables write them.
export const formatNumber = (value) => {
  const size = Math.abs(value);
  for (const [unit, suffix] of [
    [1e9, " G"],
    [1e6, " M"],
    [1e3, " k"],
  ])
    if (size >= unit * 0.9995) return Number((value / unit).toPrecision(3)) + suffix;
  return size >= 1e-4 || size === 0 ? String(Number(value.toPrecision(4))) : value.toExponential(1);
};

export const formatBytes = (size) => (size < 1e3 ? `${size} B` : size < 1e6 ? `${(size / 1e3).toPrecision(3)} kB` : `${(size / 1e6).toPrecision(3)} MB`);

// Exponential moving average that is not biased towards the first value; null stays null.
export const smoothed = (values, weight) => {
  let last = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    last = last * weight + (1 - weight) * value;
    mass = mass * weight + (1 - weight);
    return last / mass;
  });
};

// The colour between two of the form #rrggbb.
export const mixedColour = (from, to, share) => {
  const [a, b] = [from, to].map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  return (
    "#" +
    a
      .map((value, at) =>
        Math.round(value + (b[at] - value) * share)
          .toString(16)
          .padStart(2, "0"),
      )
      .join("")
  );
};
