// What a counter recommends after three items: what `spoken_for`, `first_ten` and `sentence_of` of history.py do.
// `data` is what `counted` makes there.
globalThis.window ??= globalThis;
window.seqrecComputed ??= {};
window.seqrecComputed.history = (values, data) => {
  const { hd, d, back } = values, items = [values.first, values.second, values.third];
  const roles = ["first item", "second item", "last item"], name = (item) => data.names[item];

  // calls `found(neighbour, places)` for each time that a neighbour of an item was seen
  function each(steps, found) {
    steps.forEach((row, lag) => {
      let item = 0;
      for (const step of row) found(item += step, lag);
    });
  }
  function parts() { // for each item of the history an array over all items
    return items.map((item, age) => {
      const added = new Float64Array(data.names.length), weight = hd ** (2 - age) * data.taken[item] ** -data.power;
      each(data.after[item], (j, lag) => { added[j] += weight * d ** lag; });
      each(data.before[item], (j, lag) => { added[j] += weight * back * d ** lag; });
      for (const had of items) added[had] = 0;
      return added;
    });
  }
  function best(added, k = 10) {
    const score = data.names.map((_, j) => Math.round(1e9 * (added[0][j] + added[1][j] + added[2][j])));
    const order = score.map((_, j) => j).filter((j) => score[j] > 0);
    return order.sort((a, b) => score[b] - score[a] || a - b).slice(0, k);
  }
  function strangers() {
    const known = items.map((item) => {
      const all = new Set();
      for (const steps of [data.after[item], data.before[item]]) each(steps, (j) => all.add(j));
      return all;
    });
    return ![[0, 1], [0, 2], [1, 2]].some(([a, b]) => known[a].has(items[b]));
  }
  const upwards = (x, digits = 0) => (Math.floor(x * 10 ** digits + 0.5 + 1e-9) / 10 ** digits).toFixed(digits);
  function told(added, top) {
    const begin = `After ${name(items[0])}, ${name(items[1])} and, last, ${name(items[2])}: `;
    if (!top.length) return `${begin}nobody went on from any of them, so there is nothing to recommend.`;
    const total = added[0][top[0]] + added[1][top[0]] + added[2][top[0]];
    const backed = top.filter((j) => added.filter((part) => part[j] > 0).length > 1).length;
    const said = `${begin}${name(top[0])} stands first with a score of ${upwards(total, 2)}, of which ` +
      `${upwards(100 * added[2][top[0]] / total)}% come from the last item. ${backed} of the ${top.length} ` +
      "recommendations are backed by more than one item of the history.";
    if (hd === 0) return `${said} Only the last item counts: the first two change nothing.`;
    if (!strangers()) return said;
    return `${said} Nobody had two of the three within ten places, so each speaks for items of its own.`;
  }
  const added = parts(), top = best(added), digits = (x) => Number(x.toPrecision(3));
  const changes = added.flatMap((part, i) => [
    [["data", i, "x"], top.map((j) => digits(part[j]))],
    [["data", i, "y"], top.map(name)],
    [["data", i, "name"], `${roles[i]}: ${name(items[i])}`],
  ]);
  return { changes, sentence: told(added, top) };
};
if (typeof module !== "undefined") module.exports = window.seqrecComputed;
