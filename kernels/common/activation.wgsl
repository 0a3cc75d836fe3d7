// Pointwise activations, the same function whether an op fuses one into its epilogue or runs it alone.
// The kind is a value and not a condition: it is read once per output element, and one pipeline then serves all kinds
// (`activationKinds` in src/ops/activation.ts gives the numbers).

const NONE = 0u;
const QUICK_GELU = 1u;
const LEAKY_RELU = 2u;
const RELU = 3u;

// Slope below zero of LeakyReLU, torch.nn.LeakyReLU's default.
const LEAKY_SLOPE = 0.01;

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-x));
}

fn activated(x: f32, kind: u32) -> f32 {
  switch kind {
    case QUICK_GELU: {
      return x * sigmoid(1.702 * x);
    }
    case LEAKY_RELU: {
      return select(LEAKY_SLOPE * x, x, x > 0.0);
    }
    case RELU: {
      return max(x, 0.0);
    }
    default: {
      return x;
    }
  }
}

fn activated4(x: vec4f, kind: u32) -> vec4f {
  return vec4f(activated(x.x, kind), activated(x.y, kind), activated(x.z, kind), activated(x.w, kind));
}

// Derivative at x.
fn activation_slope(x: f32, kind: u32) -> f32 {
  switch kind {
    case QUICK_GELU: {
      let s = sigmoid(1.702 * x);
      return s * (1.0 + 1.702 * x * (1.0 - s));
    }
    case LEAKY_RELU: {
      return select(LEAKY_SLOPE, 1.0, x > 0.0);
    }
    case RELU: {
      return select(0.0, 1.0, x > 0.0);
    }
    default: {
      return 1.0;
    }
  }
}
