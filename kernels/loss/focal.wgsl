// What focal_loss and its gradient share: the two-class focal term of a pixel with abnormal probability p and mask m.
// With the one-hot target o = clamp(m, smooth, 1 - smooth) for the abnormal class and 1 - o for the normal one,
//   pt = o p + (1 - o) (1 - p) + smooth,   term = -(1 - pt)^gamma log(pt)
// (the CLIP-based rivals' focal loss; smooth = 1e-5). pt and 1 - pt are both formed without cancellation, so the term
// keeps its digits where the prediction is right and where it is wrong.

import package::common::item::Wide;
import package::loss::logarithm::log_probability;

const SMOOTH = 1e-5;

struct Focal {
  // The target's weights of the abnormal and of the normal class: o and 1 - o, each clamped for itself, because 1 - o
  // would have no digits left of the smoothing.
  hot: Wide,
  cold: Wide,
  pt: Wide,
  // 1 - pt, not below 0.
  rest: Wide,
}

fn focal_of(p: Wide, m: Wide) -> Focal {
  let hot = clamp(m, Wide(SMOOTH), Wide(1.0 - SMOOTH));
  let cold = clamp(1.0 - m, Wide(SMOOTH), Wide(1.0 - SMOOTH));
  let pt = hot * p + cold * (1.0 - p) + SMOOTH;
  let rest = hot * (1.0 - p) + (cold * p - SMOOTH);
  return Focal(hot, cold, pt, max(rest, Wide(0.0)));
}

// rest^exponent; 1 for exponent 0, also at 0.
fn focal_power(rest: Wide, exponent: f32) -> Wide {
  if (exponent == 0.0) {
    return Wide(1.0);
  }
  if (exponent == 1.0) {
    return rest;
  }
  if (exponent == 2.0) {
    return rest * rest;
  }
  // exp2(exponent * log2(0)) is left open by WGSL.
  return select(Wide(0.0), pow(max(rest, Wide(1e-30)), Wide(exponent)), rest > Wide(1e-30));
}

fn focal_term(p: Wide, m: Wide, gamma: f32) -> Wide {
  let focal = focal_of(p, m);
  return -focal_power(focal.rest, gamma) * log_probability(focal.pt, focal.rest);
}

// The derivative of focal_term by p: (2 o - 1) (gamma (1 - pt)^(gamma - 1) log(pt) - (1 - pt)^gamma / pt).
fn focal_slope(p: Wide, m: Wide, gamma: f32) -> Wide {
  let focal = focal_of(p, m);
  var slope = -focal_power(focal.rest, gamma) / focal.pt;
  if (gamma > 0.0) {
    // For gamma < 1 the power grows without bound as pt nears 1 while the logarithm falls faster: 0 in the limit.
    let power = select(focal_power(focal.rest, gamma - 1.0), Wide(0.0), focal.rest <= Wide(0.0));
    slope += gamma * power * log_probability(focal.pt, focal.rest);
  }
  return slope * (focal.hot - focal.cold);
}
