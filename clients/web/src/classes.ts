/** Logits to the best classes. */

/** One class of a prediction; `score` is its softmax probability. */
export interface ClassScore {
  readonly classId: number;
  readonly label: string;
  readonly score: number;
}

/** The best classes of finite logits by softmax in float64; equal logits in the order of class ids. */
export function topClasses(logits: Float32Array, labels: readonly string[], topK: number): ClassScore[] {
  const highest = logits.reduce((best, logit) => Math.max(best, logit), -Infinity);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
  const order = Array.from(logits.keys()).sort((first, second) => logits[second]! - logits[first]! || first - second);
  return order.slice(0, topK).map((classId) => ({
    classId,
    label: labels[classId]!,
    score: Math.exp(logits[classId]! - highest) / total,
  }));
}
