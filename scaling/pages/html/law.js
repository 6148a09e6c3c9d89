'use strict';
// L(N, D) = E + A/N'^alpha + B/D'^beta under a budget, a limit on data and a demand to serve:
// the counterpart of scaling/planning/surface.py and allocation.py, whose numbers tests compare.

const LOG_RANGE = [-30, 140]; // logarithms of what is searched
const UPWARDS = Math.log(1e6); // of ln N above the smallest that reaches a loss
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Where a monotone function of ln X crosses zero, by halving; NaN if it never does. */
function findCrossing(excess, low = LOG_RANGE[0], high = LOG_RANGE[1]) {
  let [a, b, atA] = [low, high, excess(low)];
  if (!(Math.sign(atA) * Math.sign(excess(high)) <= 0)) return NaN;
  for (let turn = 0; turn < 60; turn += 1) {
    const middle = (a + b) / 2;
    if (Math.sign(excess(middle)) === Math.sign(atA)) a = middle; else b = middle;
  }
  return Math.exp((a + b) / 2);
}

/** Where a function of ln X with one valley is least, by golden sections. */
function findLeast(cost, low, high) {
  let [left, right] = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
  let [atLeft, atRight] = [cost(left), cost(right)];
  while (high - low > 1e-9) {
    if (atLeft < atRight) {
      [high, right, atRight] = [right, left, atLeft];
      left = high - GOLDEN * (high - low);
      atLeft = cost(left);
    } else {
      [low, left, atLeft] = [left, right, atRight];
      right = low + GOLDEN * (high - low);
      atRight = cost(right);
    }
    if (!(high > low)) return NaN;
  }
  return Math.exp((low + high) / 2);
}

/** ln(C/D) at ln N, and its slope there; see ComputeModel in scaling/laws/frontier.py. */
function tangent(compute, logN) {
  if (compute.crossing !== null && logN > compute.crossing) return [Math.log(6) + logN, 1];
  const u = logN - Math.log(compute.centre);
  const [low, high] = compute.sizes.map((size) => Math.log(size / compute.centre));
  const bent = Math.min(Math.max(u, low), high);
  const height = Math.log(compute.kappa) + compute.gamma * logN + compute.bend * bent * (u - bent / 2);
  return [height, compute.gamma + compute.bend * bent];
}

/** The surface of one set of parameters, with so many unique tokens. */
function surface(law, params, limit, constants, repeat) {
  const { E, A, B, alpha } = params;
  const beta = params.beta ?? alpha;
  const [decayN, decayD] = [law.decays[0], repeat ? law.decays[1] : 1e-9];
  const G = ((alpha * A) / (beta * B)) ** (1 / (alpha + beta));
  const base = Number.isFinite(limit) ? G * (G * limit) ** (beta / alpha) : Infinity;
  const worth = (amount, unique, decay) => {
    const fresh = Math.min(amount, unique);
    return fresh * (1 + decay * (1 - Math.exp(-(amount / fresh - 1) / decay)));
  };
  const needed = (unique, value, decay) => (value <= unique ? value
    : unique * (1 - decay * Math.log1p(-(value / unique - 1) / decay)));
  const perToken = (N) => Math.exp(tangent(law.compute, Math.log(N))[0]);
  const loss = (N, D) => E + A / worth(N, base, decayN) ** alpha + B / worth(D, limit, decayD) ** beta;
  const tokensFor = (N, wanted) => {
    const left = wanted - E - A / worth(N, base, decayN) ** alpha;
    return left > 0 ? needed(limit, (B / left) ** (1 / beta), decayD) : NaN;
  };
  const total = (N, D, served = 0) => perToken(N) * (D + constants.forward * served);
  const gain = (amount, unique, decay, factor, exponent) => {
    const passed = Math.max(amount / unique - 1, 0) / decay;
    return Math.log(exponent * factor) - (exponent + 1) * Math.log(worth(amount, unique, decay)) + Math.log(amount) - passed;
  };
  const spend = (C, served = 0) => {
    const N = findCrossing((logN) => {
      const [height, slope] = tangent(law.compute, logN);
      const D = C / Math.exp(height);
      return gain(Math.exp(logN), base, decayN, A, alpha) - gain(D, limit, decayD, B, beta)
        - Math.log(slope) - Math.log1p((constants.forward * served) / D);
    });
    return [N, C / perToken(N)];
  };
  const cheapest = (wanted, served = 0) => {
    const most = Number.isFinite(limit) ? limit * (1 + decayD) : Infinity;
    const left = wanted - E - B / most ** beta;
    const smallest = left > 0 ? needed(base, (A / left) ** (1 / alpha), decayN) * (1 + 1e-9) : NaN;
    const low = Math.log(smallest);
    const cost = (logN) => {
      const value = Math.log(total(Math.exp(logN), tokensFor(Math.exp(logN), wanted), served));
      return Number.isNaN(value) ? Infinity : value;
    };
    const N = findLeast(cost, low, low + UPWARDS);
    return [N, tokensFor(N, wanted)];
  };
  return { loss, tokensFor, perToken, total, spend, cheapest };
}

/** N and D of least loss within C; with served tokens the cheapest in all of that loss. */
function allocate(law, params, goals, constants, saturated = null) {
  const free = surface(law, params, Infinity, constants, goals.repeat);
  const [N, D] = free.spend(goals.C, goals.served);
  if (D <= goals.limit) return { N, D, L: free.loss(N, D), total: free.total(N, D, goals.served), saturated: false };
  const bound = surface(law, params, goals.limit, constants, goals.repeat);
  const [n, d] = bound.spend(goals.C);
  const wanted = bound.loss(n, d) + constants.within;
  const left = saturated ?? constants.saturated * bound.total(...bound.cheapest(wanted)) <= goals.C;
  const [size, tokens] = left ? reachLoss(bound, goals, wanted) : bound.spend(goals.C, goals.served);
  return { N: size, D: tokens, L: bound.loss(size, tokens), total: bound.total(size, tokens, goals.served), saturated: left };
}

/** The cheapest in all that reaches a loss and whose training is within the budget. */
function reachLoss(bound, goals, wanted) {
  const [N, D] = bound.cheapest(wanted, goals.served);
  if (bound.total(N, D) <= goals.C * (1 + 1e-9)) return [N, D];
  const [largest, most] = bound.cheapest(wanted);
  if (!(bound.total(largest, most) <= goals.C * (1 + 1e-9))) return [NaN, NaN];
  const excess = (logN) => Math.log(bound.total(Math.exp(logN), bound.tokensFor(Math.exp(logN), wanted)) / goals.C);
  const size = findCrossing(excess, Math.log(N), Math.log(largest));
  return [size, bound.tokensFor(size, wanted)];
}

/** The point estimate and the answer of every draw. */
function allocateAll(law, goals, constants) {
  const point = allocate(law, law.params, goals, constants);
  const names = Object.keys(law.draws);
  const count = names.length ? law.draws[names[0]].length : 0;
  const drawn = [];
  for (let i = 0; i < count; i += 1) {
    const params = Object.fromEntries(names.map((name) => [name, law.draws[name][i]]));
    drawn.push(allocate(law, params, goals, constants, point.saturated));
  }
  return { point, drawn };
}

/** [value, low, high]: the equal-tailed 90 % interval of draws, as Python's Estimate has it. */
function estimate(value, draws) {
  const known = draws.filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  if (!known.length) return [value, null, null];
  const at = (share) => known[Math.max(0, Math.ceil(share * known.length - 1e-9) - 1)];
  const [low, high] = [at(0.05), at(0.95)];
  const isSound = high - low > 1e-12 * Math.abs(value) && low <= value && value <= high;
  return isSound ? [value, low, high] : [value, null, null];
}
