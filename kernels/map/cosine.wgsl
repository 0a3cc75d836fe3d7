// What the variants of cosine_softmax share: from the sums over the width to the probability and its slope.
//
// With the patch x, the texts n (normal) and a (abnormal), each divided by its length (at least 1e-12, as in
// torch.nn.functional.normalize), and c = cos(x, a) - cos(x, n), the two-class softmax is
//
//   p = exp(t cos(x, a)) / (exp(t cos(x, n)) + exp(t cos(x, a))) = 1 / (1 + exp(-t c))
//
// and its derivative by the patch
//
//   dp/dx = p (1 - p) t / |x| * (a/|a| - n/|n| - c x/|x|) = scale * (direction - shrink * x)

// Lengths below this count as this.
const EPSILON = 1e-12;

// One over the length that a sum of squares belongs to.
fn inverse_length(squares: f32) -> f32 {
  return 1.0 / max(sqrt(squares), EPSILON);
}

struct Abnormality {
  // Of the abnormal class.
  probability: f32,
  // Factors of the derivative, see above; scale without the output's gradient.
  scale: f32,
  shrink: f32,
}

// `along`: x.n, x.a and x.x. `text`: n.n and a.a.
fn abnormality(along: vec3f, text: vec2f, temperature: f32) -> Abnormality {
  let inverse = inverse_length(along.z);
  let difference = inverse * (along.y * inverse_length(text.y) - along.x * inverse_length(text.x));
  // exp of a number that is never positive: no overflow, and 1 - p keeps its digits when p is near 1.
  let power = exp(-abs(temperature * difference));
  let likelier = 1.0 / (1.0 + power);
  let unlikelier = power * likelier;
  return Abnormality(
    select(unlikelier, likelier, difference >= 0.0),
    likelier * unlikelier * temperature * inverse,
    // A length that was raised to the least one does not change with x.
    select(0.0, difference * inverse, along.z > EPSILON * EPSILON),
  );
}
