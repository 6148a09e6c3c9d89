'use strict';
// The planner: a budget, a limit on data, a demand and devices; what to train, where it fits.

const { law, constants } = DATA;
const asked = { C: DATA.budgets[DATA.first], limit: DATA.limit ?? Infinity, served: DATA.served, repeat: DATA.repeat, count: DATA.count, device: DATA.device };

const fourDigits = (v) => (v === null || Number.isNaN(v) ? '-' : String(Number(v.toPrecision(4))));

/** Read the grid of a law that the script does not know, between positions along logarithms. */
function readGrid(values) {
  const all = DATA.budgets;
  const place = Math.min(all.length - 1, Math.max(0, Math.log(asked.C / all[0]) / Math.log(all[1] / all[0])));
  const low = Math.min(Math.floor(place + 1e-9), all.length - 2);
  const share = place - low;
  if (values[low] === null || values[low + 1] === null) return null;
  return Math.exp(Math.log(values[low]) * (1 - share) + Math.log(values[low + 1]) * share);
}

/** N, D, L, ratio and total FLOPs, each [value, low, high]; whether data binds. */
function solve() {
  if (!law.sum) {
    const read = (name) => DATA.grid[name].map(readGrid);
    return { N: read('N_opt'), D: read('D_opt'), L: read('L_opt'), ratio: read('tokens_per_param'), binds: false, saturated: false };
  }
  const { point, drawn } = allocateAll(law, asked, constants);
  const of = (pick) => estimate(pick(point), drawn.map(pick));
  const alone = surface(law, law.params, Infinity, constants, true);
  return {
    N: of((p) => p.N), D: of((p) => p.D), L: of((p) => p.L), ratio: of((p) => p.D / p.N), total: of((p) => p.total),
    binds: point.D > asked.limit * (1 - 1e-6), saturated: point.saturated, best: alone.spend(asked.C),
  };
}

function status() {
  if (!law.reach) return ['', ''];
  const [low, high] = law.reach;
  if (asked.C > high * 1.02) return ['warn', `Extrapolated: ${short(asked.C / high, 2)} times the largest budget behind the law (${power(high)}).`];
  if (asked.C < low / 1.02) return ['warn', `Extrapolated: ${short(low / asked.C, 2)} times below the smallest budget behind the law (${power(low)}).`];
  return ['', `Within the budgets behind the law, ${power(low)} to ${power(high)} FLOPs; the law is ${law.status}.`];
}

// ------------------------------------------------------------------ what is shown

function drawAnswer(found) {
  const answer = byId('answer');
  answer.replaceChildren();
  const list = html('dl', '', null, answer);
  const chip = DATA.devices[asked.device];
  const days = asked.C / (asked.count * chip.flops * DATA.utilisation) / constants.day;
  const rows = [
    ['N', 'parameters N', interval(found.N)], ['D', 'tokens D', interval(found.D)],
    ['L', 'loss (nats/token)', interval(found.L, fourDigits)], ['ratio', 'tokens/param', interval(found.ratio)],
    ['days', `days on ${asked.count} ${asked.device}`, `${short(days)} at ${short(DATA.utilisation * 100, 2)} % of the ${chip.format} peak`],
  ];
  if (Number.isFinite(asked.limit)) rows.push(['passes', 'passes over the data', short(Math.max(1, found.D[0] / asked.limit))]);
  if (asked.served > 0) rows.push(['total', 'FLOPs with serving', interval(found.total, power)]);
  for (const [name, head, text] of rows) {
    const entry = html('div', '', null, list);
    html('dt', '', head, entry);
    html('dd', '', text, entry).id = `at-${name}`;
  }
  const [kind, text] = status();
  const notes = [text];
  if (found.binds) notes.push('Data is short: repeated tokens are worth less, as Muennighoff et al. 2023 measured.');
  if (found.saturated) notes.push('The data is used up: far less compute comes within 0.001 nats of what the budget buys.');
  html('p', `flag ${kind || (found.saturated ? 'warn' : '')}`, notes.filter(Boolean).join(' '), answer).id = 'flag';
}

/** Loss over N at the budget, with the answer and, where it is another, the best without demands. */
function drawBowl(found) {
  const figure = byId('bowl');
  if (!law.sum) { figure.hidden = true; return; }
  const space = surface(law, law.params, asked.limit, constants, asked.repeat);
  const N = Array.from({ length: 61 }, (_, i) => found.N[0] * 10 ** ((i - 30) / 20));
  const L = N.map((n) => space.loss(n, asked.C / space.perToken(n)));
  const chart = frame(figure, { label: 'parameters N', range: [N[0], N[60]], log: true, write: short },
    { label: 'loss (nats/token)', range: [Math.min(...L, found.L[0]) - 0.01, Math.max(...L) + 0.01], log: false, write: fourDigits });
  line(chart, N, L, 'frontier');
  const best = found.best;
  const isApart = Math.abs(Math.log(best[0] / found.N[0])) > 0.01;
  if (isApart) guide(chart, best[0]);
  mark(chart, found.N[0], [found.L[0], null, null]);
  const entries = [['frontier', `loss at ${power(asked.C)} FLOPs`], ['star', 'to train']];
  if (isApart) entries.push(['guide', 'best size without limit and demand']);
  legend(figure, entries);
  figure.querySelector('.told').textContent = '';
}

/** Bytes on a device of one strategy; null where it needs other numbers of devices. */
function bytesOf(shape, name, recomputed) {
  const n = asked.count;
  if (n === 1) return name === 'DDP' ? shape.alone[recomputed] : null;
  if (name === 'FSDP, hybrid' && (n % constants.per_machine || n === constants.per_machine)) return null;
  const [a, b] = shape.bytes[name][recomputed];
  return a + b / n;
}

function drawMemory(found) {
  const figure = byId('memory');
  const place = figure.querySelector('.bars');
  place.replaceChildren();
  const far = (shape) => Math.abs(Math.log(shape.wanted / found.N[0]));
  const shape = DATA.shapes.reduce((a, b) => (far(b) < far(a) ? b : a), DATA.shapes[0]);
  const told = figure.querySelector('.told');
  if (!shape || far(shape) > 0.4) { told.textContent = 'No shape of about this size can be built.'; return; }
  const room = DATA.devices[asked.device].memory;
  const usable = room * constants.usable;
  const names = Object.keys(shape.bytes).filter((name) => bytesOf(shape, name, 0) !== null);
  const most = Math.max(room * 1.25, Math.min(room * 4, ...[Math.max(...names.map((name) => bytesOf(shape, name, 0)))]));
  for (const name of names) {
    const [kept, again] = [bytesOf(shape, name, 0), bytesOf(shape, name, 1)];
    const row = html('div', 'bar', null, place);
    row.dataset.strategy = name;
    html('span', '', name, row);
    const track = html('span', 'track', null, row);
    const fill = html('span', kept <= usable ? 'fill' : 'fill over', null, track);
    fill.style.width = `${Math.min(100, (kept / most) * 100)}%`;
    html('span', 'limit', null, track).style.left = `${(usable / most) * 100}%`;
    const fits = kept <= usable ? 'fits' : again <= usable ? 'fits if recomputed' : 'does not fit';
    html('span', '', `${short(kept / 1e9)} GB, ${fits}`, row);
  }
  const off = (shape.N / found.N[0] - 1) * 100;
  told.textContent = `${shape.label}: ${short(shape.total)} parameters in all, ${off.toFixed(1)} % off N. ${asked.count} ${asked.device} of `
    + `${short(room / 1e9)} GB, ${DATA.setup}; the upright line is ${constants.usable * 100} % of the memory. Weights, gradients, moments and activations.`;
}

function draw() {
  const found = solve();
  drawAnswer(found);
  drawBowl(found);
  drawMemory(found);
}

// ------------------------------------------------------------------ what is asked

/** Bind a slider and its field to what it asks: positions -> values, and back. */
function bind(name, values, write, read) {
  const [slider, field] = [byId(name), byId(`${name}-text`)];
  if (!slider) return;
  const nearest = (value) => values.reduce((best, v, i) => (gap(v, value) < gap(values[best], value) ? i : best), 0);
  const show = () => {
    slider.value = String(nearest(asked[read]));
    slider.setAttribute('aria-valuetext', write(asked[read]));
    if (document.activeElement !== field) field.value = write(asked[read]);
  };
  slider.max = String(values.length - 1);
  slider.addEventListener('input', () => { asked[read] = values[Number(slider.value)]; show(); draw(); });
  field.addEventListener('change', () => {
    const value = /^\s*(none|no limit|unlimited)\s*$/i.test(field.value) ? values[values.length - 1] : parse(field.value);
    const inside = value > 0 || values.includes(value);
    if (inside) asked[read] = read === 'count' ? Math.max(1, Math.round(value)) : value;
    if (inside && read === 'C' && !law.sum) asked.C = Math.min(Math.max(value, values[0]), values[values.length - 1]);
    field.value = write(asked[read]);
    show();
    draw();
  });
  show();
}

/** How far two values are apart; the same end, unlimited or zero, is no distance. */
function gap(a, b) {
  if (a === b) return 0;
  return a > 0 && b > 0 && Number.isFinite(a) && Number.isFinite(b) ? Math.abs(Math.log(a / b)) : 1e9;
}

function start() {
  bind('budget', DATA.budgets, power, 'C');
  bind('limit', [...DATA.tokens, Infinity], (v) => (Number.isFinite(v) ? short(v) : 'no limit'), 'limit');
  bind('served', [0, ...DATA.tokens], short, 'served');
  bind('count', Array.from({ length: DATA.most_devices + 1 }, (_, i) => 2 ** i), String, 'count');
  document.querySelectorAll('[name=device]').forEach((button) => button.addEventListener('change', () => { asked.device = button.value; draw(); }));
  follow(draw);
}

start();
