// Labels by group. The labels of an exclusive group are one choice.

/**
 * The groups with some of these labels, those of no group first; each label once, in an exclusive group if it has one.
 * @param {{name: string, labels: string[], exclusive: boolean}[]} groups
 * @param {string[]} names labels in the order of a card
 * @returns {{name: string, exclusive: boolean, labels: string[]}[]}
 */
export function byGroup(groups, names) {
  const groupOf = new Map();
  for (const group of [...groups].sort((a, b) => b.exclusive - a.exclusive)) {
    for (const name of group.labels) if (!groupOf.has(name)) groupOf.set(name, group);
  }
  return [undefined, ...groups]
    .map((group) => ({ name: "", exclusive: false, ...group, labels: names.filter((name) => groupOf.get(name) === group) }))
    .filter((section) => section.labels.length);
}

/**
 * The probability that each label of an exclusive group is the one present: with the odds o = p / (1 - p), o_l / (1 + sum of o).
 * @param {string[]} group
 * @param {Map<string, number>} scores
 * @returns {Map<string, number>}
 */
export function shares(group, scores) {
  const logs = group.map((name) => {
    const p = Math.min(Math.max(scores.get(name), 1e-12), 1 - 1e-12);
    return Math.log(p) - Math.log1p(-p);
  });
  const largest = Math.max(0, ...logs); // divided by the largest odds, so that nothing overflows
  const odds = logs.map((log) => Math.exp(log - largest));
  const sum = odds.reduce((a, b) => a + b, Math.exp(-largest));
  return new Map(group.map((name, i) => [name, odds[i] / sum]));
}
