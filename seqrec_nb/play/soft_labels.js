// The label of one history, and one negative turned towards its anchor, as `soft_labels` computes them in
// Python: a test compares the two.
globalThis.window ??= {};
(() => {
  const percent = (x) => `${(100 * x).toFixed(0)}%`;
  const plain = (x) => (Number(x.toFixed(2)) === 0 ? 0 : x).toFixed(2); // no -0.00
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const mixed = (s, a, t, b) => [s * a[0] + t * b[0], s * a[1] + t * b[1]];

  function labelWords(gamma, names, weight) {
    const [first, ...later] = weight.map(percent);
    const said = `Decay γ ${gamma.toFixed(2)}: the label gives ${first} to the next item (${names[0]}) and `
      + `${later.join(" and ")} to the later ones (${names.slice(1).join(", ")})`;
    return gamma === 1 ? `${said}, and no longer says which comes next.` : `${said}.`;
  }

  // The anchor is [1, 0], and the negative is as long. The step is minus the gradient of the similarity of
  // the anchor h and the turned negative t = v / |v|, where v = lam h / |h| + (1 - lam) n.
  function push(lam, h, v, t, stop) {
    const long = Math.sqrt(dot(v, v));
    if (stop || long < 1e-12) return v.map((x) => -x / Math.max(long, 1e-3));
    const cosine = dot(h, t), across = mixed(1, t, -cosine, h);
    return mixed(-1, t, (lam * cosine) / long, across);
  }

  function turnWords(lam, angle, stop, t, step) {
    const said = `Mixing λ ${lam.toFixed(2)}, a negative at ${angle} degrees:`;
    if (Math.hypot(...t) < 1e-3)
      return `${said} it and the anchor cancel, the turned one has no direction, and the anchor is not `
        + "pushed.";
    const degrees = (Math.atan2(t[1], t[0]) * 180) / Math.PI, side = degrees < 0 ? "below" : "above";
    const along = Math.abs(step[0] / Math.hypot(...step));
    const how = stop ? "The gradient is stopped" : "The gradient runs through it";
    return `${said} the turned one is ${Math.abs(degrees).toFixed(1)} degrees ${side} the anchor, at a cosine `
      + `of ${plain(t[0])}. ${how}, and ${percent(along)} of the anchor's step is along the anchor itself.`;
  }

  (window.seqrecComputed ??= {}).soft_labels = ({ gamma, lam, angle, stop }, { names }) => {
    const parts = names.map((_, i) => gamma ** i), total = parts.reduce((a, b) => a + b);
    const weight = parts.map((x) => x / total);
    const turn = (angle * Math.PI) / 180, h = [1, 0], n = [Math.cos(turn), Math.sin(turn)];
    const v = mixed(lam, h, 1 - lam, n), long = Math.max(Math.sqrt(dot(v, v)), 1e-12);
    const t = [v[0] / long, v[1] / long], step = push(lam, h, v, t, stop);
    const way = Math.hypot(...step) > 1e-3 ? [h, mixed(1, h, 0.8, step)] : [];
    return {
      changes: [
        [["data", 0, "y"], weight],
        [["data", 1, "x"], way.map((p) => p[0])],
        [["data", 1, "y"], way.map((p) => p[1])],
        [["data", 2, "x"], [h[0], n[0], t[0]]],
        [["data", 2, "y"], [h[1], n[1], t[1]]],
      ],
      sentence: `${labelWords(gamma, names, weight)} ${turnWords(lam, angle, stop, t, step)}`,
    };
  };
})();
if (typeof module !== "undefined") module.exports = window.seqrecComputed;
