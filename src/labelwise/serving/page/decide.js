// Which labels are selected: the rule of the library's decisions, so that a moved threshold shows its effect at once.

/**
 * Labels at or over their thresholds; of an exclusive group the one most over its own; then the likeliest `topK`.
 * Those that training had no positive of are never selected.
 * @param {string[]} names in the model's order
 * @param {Map<string, number>} scores
 * @param {Map<string, number>} thresholds
 * @param {string[][]} exclusive
 * @param {number} topK 0 sets no limit
 * @param {Set<string>} never
 * @returns {Set<string>}
 */
export function select(names, scores, thresholds, exclusive, topK, never) {
  const over = (name) => (never.has(name) ? -Infinity : scores.get(name) - thresholds.get(name));
  const chosen = new Set(names.filter((name) => over(name) >= 0));
  for (const group of exclusive) {
    const best = group.reduce((a, b) => (over(b) > over(a) ? b : a), group[0]);
    for (const name of group) if (name !== best) chosen.delete(name);
  }
  if (!topK) return chosen;
  return new Set([...chosen].sort((a, b) => scores.get(b) - scores.get(a)).slice(0, topK));
}
