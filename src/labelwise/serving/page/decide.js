// Which labels are selected: the rule of the library's decisions, so that a moved threshold shows its effect at once.

/**
 * Labels at or over their thresholds; of labels tied by rules, the set that keeps these and gains most, the sum of
 * score minus threshold; then the likeliest `topK`, as far as the rules allow. Labels that training had no positive of
 * are not selected.
 * @param {string[]} names in the model's order
 * @param {Map<string, number>} scores
 * @param {Map<string, number>} thresholds
 * @param {{parts: object[], implies: string[][], exactly_one: string[][]}} rules as returned by GET /labels
 * @param {number} topK 0 sets no limit
 * @param {Set<string>} never
 * @param {Set<string>} decided what the server selected, which stays where the rules have too many sets to compare here
 * @returns {Set<string>}
 */
export function select(names, scores, thresholds, rules, topK, never, decided) {
  const gain = (name) => scores.get(name) - thresholds.get(name) - (never.has(name) ? names.length + 1 : 0);
  const chosen = new Set(names.filter((name) => gain(name) >= 0));
  for (const part of rules.parts) {
    for (const [name, yes] of choices(part, gain, decided)) {
      if (yes) chosen.add(name);
      else chosen.delete(name);
    }
  }
  const ranked = names.filter((name) => chosen.has(name)).sort((a, b) => scores.get(b) - scores.get(a));
  return topK ? limited(ranked, rules, topK) : new Set(ranked);
}

/** Pairs of a label and whether it is selected, for the labels of one part of the rules. */
function choices(part, gain, decided) {
  if (part.group) return choicesOfGroup(part, gain);
  if (part.forest) return choicesOfForest(part.forest, gain);
  if (part.sets) return choicesOfSets(part, gain);
  return part.kept.map((name) => [name, decided.has(name)]);
}

function choicesOfGroup({ group, needed }, gain) {
  const best = group.reduce((a, b) => (gain(b) > gain(a) ? b : a), group[0]);
  return group.map((name) => [name, name === best && (needed || gain(name) >= 0)]);
}

/** A label stays where its parent does and its subtree gains. */
function choicesOfForest(forest, gain) {
  const value = new Map(forest.map(([name]) => [name, gain(name)]));
  for (const [name, parent] of [...forest].reverse()) {
    if (parent !== null) value.set(parent, value.get(parent) + Math.max(value.get(name), 0));
  }
  const selected = new Map();
  for (const [name, parent] of forest) selected.set(name, value.get(name) >= 0 && (parent === null || selected.get(parent)));
  return [...selected];
}

function choicesOfSets({ labels, sets }, gain) {
  const gains = labels.map(gain);
  const sums = sets.map((set) => set.reduce((sum, i) => sum + gains[i], 0));
  const best = new Set(sets[sums.indexOf(Math.max(...sums))]);
  return labels.map((name, i) => [name, best.has(i)]);
}

/** The least likely label that no other needs goes first. */
function limited(ranked, rules, topK) {
  const selected = new Set(ranked);
  const needed = new Set(rules.exactly_one.flat());
  const removable = (name) => !needed.has(name) && !rules.implies.some(([child, parent]) => parent === name && selected.has(child));
  while (selected.size > topK) {
    const next = [...ranked].reverse().find((name) => selected.has(name) && removable(name));
    if (next === undefined) break;
    selected.delete(next);
  }
  return selected;
}
