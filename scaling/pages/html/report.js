'use strict';
// The report: which N, which method, which budget; what they say and how the runs lie.

const QUANTITIES = [
  ['N_opt', 'parameters N', short], ['D_opt', 'tokens D', short],
  ['L_opt', 'loss (nats/token)', (v) => (v === null ? '-' : String(Number(v.toPrecision(4))))],
  ['tokens_per_param', 'tokens/param', short],
];
const runs = DATA.runs;
const state = { convention: DATA.conventions[0], method: null, place: 0, run: null, from: 0 };

function round(value, digits) { return value === null || value === undefined ? '-' : Number(value.toPrecision(digits)); }

/** Read a row of values at the budget, between two positions along logarithms. */
function read(values) {
  const low = Math.floor(state.place);
  const share = state.place - low;
  const [a, b] = [values[low], values[Math.min(low + 1, values.length - 1)]];
  if (a === null || b === null) return null;
  return share === 0 ? a : Math.exp(Math.log(a) * (1 - share) + Math.log(b) * share);
}

function describe(convention, i, method) {
  const run = convention.run[i];
  const name = runs.name && runs.name[run] && runs.name[run] !== runs.id[run] ? ` (${runs.name[run]})` : '';
  const std = runs.std && runs.std[run] !== null ? ` ± ${round(runs.std[run], 2)}` : '';
  const residual = method && method.residual[i] !== null ? `, ${method.residual[i] > 0 ? '+' : ''}${round(method.residual[i], 2)} % off ${method.method}` : '';
  return `${runs.id[run]}${name}: N ${short(convention.runN[i])}, D ${short(runs.D[run])}, `
    + `C ${power(convention.runC[i])} FLOPs, loss ${round(runs.L[run], 5)}${std} nats/token${residual}`;
}

/** The runs as points, budget by budget and along N; stopped ones at the end. */
function items(convention, method, x, y) {
  const budgets = [...new Set(convention.budget.filter((b) => b !== null))].sort((a, b) => a - b);
  const order = convention.run.map((_, i) => i).sort((a, b) => (convention.budget[a] ?? Infinity) - (convention.budget[b] ?? Infinity)
    || convention.runC[a] * (convention.budget[a] === null) - convention.runC[b] * (convention.budget[b] === null) || convention.runN[a] - convention.runN[b]);
  const found = order.map((i) => {
    const group = budgets.indexOf(convention.budget[i]);
    return {
      x: x(i), y: y(i), run: convention.run[i], text: describe(convention, i, method), shape: Math.max(group, 0),
      colour: group < 0 ? 'var(--faint)' : shade(group, budgets.length), budget: convention.budget[i] ?? convention.runC[i],
    };
  });
  return { found, budgets };
}

function stopped(convention, x) {
  return convention.stopped.map((row) => ({
    x: x(row), run: row.run, stopped: true, budget: row.C,
    text: `${runs.id[row.run]}: N ${short(row.N)}, C ${power(row.C)} FLOPs, ${runs.status[row.run]}${runs.reason && runs.reason[row.run] ? `, ${runs.reason[row.run]}` : ''}; not in any fit`,
  }));
}

/** Colours and marks of the budgets; where they are many, under the first chart only. */
function budgetEntries(convention, budgets, isFirst = false) {
  const entries = !isFirst && budgets.length > 8 ? [] : budgets.map((budget, i) => ['run', `${power(budget)} FLOPs`, shade(i, budgets.length), i]);
  if (convention.budget.includes(null)) entries.push(['run', 'other budgets', 'var(--faint)', 0]);
  if (convention.stopped.length) entries.push(['stopped', 'not in any fit']);
  return entries;
}

const lossAxis = (range) => ({ label: 'loss (nats/token)', range, log: false, write: (v) => String(Number(v.toPrecision(4))) });
const sizeAxis = (range) => ({ label: 'parameters N', range, log: true, write: short });
const computeAxis = (range) => ({ label: 'compute C (FLOPs)', range, log: true, write: (v) => power(v, 2) });

function spread(values, share) {
  const known = values.filter((v) => v !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const more = (high - low) * share || 0.1;
  return [low - more, high + more];
}

/** Where an axis of C ends: past the chosen budget, but not where the runs would be a speck. */
function rightEnd(end) { return Math.max(end, Math.min(budget() * 1.3, end * 100)); }

// ------------------------------------------------------------------ the charts

function drawBowls() {
  const { convention, method } = state;
  const losses = convention.run.map((run) => runs.L[run]);
  const best = method.optimum;
  const chart = frame(byId('bowls'), sizeAxis(reach([...convention.runN, ...convention.stopped.map((r) => r.N)], 1.25)), lossAxis(spread(losses, 0.08)));
  const { found, budgets } = items(convention, method, (i) => convention.runN[i], (i) => runs.L[convention.run[i]]);
  for (const bowl of method.bowls) line(chart, bowl.N, bowl.L, 'bowl', shade(budgets.indexOf(bowl.C), budgets.length));
  line(chart, best.N_opt[0], best.L_opt[0], 'frontier');
  for (const low of method.minima) if (low.status === 'ok') mark(chart, low.N[0], low.L);
  const here = [read(best.N_opt[0]), read(best.L_opt[0])];
  if (here[0] !== null) guide(chart, here[0]);
  points(chart, [...found, ...stopped(convention, (r) => r.N)], choose);
  const entries = budgetEntries(convention, budgets, true);
  entries.push(['frontier', `best size by ${method.method}`]);
  if (method.minima.some((m) => m.status === 'ok')) entries.push(['star', 'minimum of a bowl, with its interval in loss']);
  legend(byId('bowls'), entries);
}

function drawCompute() {
  const { convention, method } = state;
  const best = method.optimum;
  const losses = convention.run.map((run) => runs.L[run]);
  const [low, high] = spread(losses, 0.08);
  const wide = reach([...convention.runC, ...convention.stopped.map((r) => r.C)], 1.6);
  const right = rightEnd(wide[1]);
  const lowest = best.L_opt[0].filter((v, i) => v !== null && convention.C[i] <= right);
  const y = lossAxis([Math.min(low, ...lowest), high + (high - low) * 0.25]);
  const chart = frame(byId('compute'), computeAxis([wide[0], right]), y);
  const { found, budgets } = items(convention, method, (i) => convention.runC[i], (i) => runs.L[convention.run[i]]);
  convention.run.forEach((run, i) => {
    const curve = DATA.curves[run];
    if (!curve) return;
    const group = budgets.indexOf(convention.budget[i]);
    const perToken = convention.runC[i] / runs.D[run];
    line(chart, curve[0].map((t) => t * perToken), curve[1], 'curve', group < 0 ? 'var(--faint)' : shade(group, budgets.length));
  });
  drawFrontier(chart, convention, method, 'L_opt');
  points(chart, [...found, ...stopped(convention, (r) => r.C)], choose);
  const entries = budgetEntries(convention, budgets);
  if (Object.keys(DATA.curves).length) entries.push(['curve', 'training loss (smoothed)']);
  entries.push(['frontier', `loss of the best model by ${method.method}`], ['beyond', 'extrapolated']);
  legend(byId('compute'), entries);
}

function drawContours() {
  const { convention, method } = state;
  const wide = reach([...convention.runC, ...convention.stopped.map((r) => r.C)], 1.6);
  const chart = frame(byId('contours'), computeAxis([wide[0], rightEnd(wide[1])]), sizeAxis(reach([...convention.runN, ...convention.stopped.map((r) => r.N)], 1.5)));
  for (const contour of convention.contours) line(chart, contour.C, contour.N, 'contour');
  drawFrontier(chart, convention, method, 'N_opt');
  for (const low of method.minima) if (low.status === 'ok') mark(chart, low.C, low.N);
  const taken = [];
  for (const contour of convention.contours) label(chart, contour, taken);
  const { found, budgets } = items(convention, method, (i) => convention.runC[i], (i) => convention.runN[i]);
  points(chart, [...found, ...stopped(convention, (r) => r.C)], choose);
  const entries = budgetEntries(convention, budgets);
  if (convention.contours.length) entries.push(['contour', `loss (nats/token) by ${convention.contoursOf}`]);
  entries.push(['frontier', `best size by ${method.method}`], ['beyond', 'extrapolated']);
  if (method.minima.some((m) => m.status === 'ok')) entries.push(['star', 'minimum of a bowl']);
  legend(byId('contours'), entries);
}

/** The loss of a contour on its line, as high up as no other label stands; none where all do. */
function label(chart, contour, taken) {
  const place = ([x, y]) => x > MARGIN.left + 16 && x < chart.right - 18 && y > MARGIN.top + 8 && y < chart.bottom - 6
    && taken.every(([a, b]) => Math.abs(a - x) > 36 || Math.abs(b - y) > 14);
  const found = contour.N.map((n, i) => [chart.X(contour.C[i]), chart.Y(n)]).filter(place);
  if (!found.length) return;
  const [x, y] = found.reduce((a, b) => (b[1] < a[1] ? b : a));
  taken.push([x, y]);
  element('text', { x, y: y + 4, class: 'level', 'text-anchor': 'middle' }, chart.inside, String(contour.L));
}

/** What is best at each budget: solid within the runs, dashed beyond, and the chosen budget. */
function drawFrontier(chart, convention, method, name) {
  const [value, low, high] = method.optimum[name];
  band(chart, convention.C, low, high);
  const known = value.map((v, i) => (method.statuses[method.at[i]] === 'extrapolated' ? null : v));
  line(chart, convention.C, value, 'frontier beyond');
  line(chart, convention.C, known, 'frontier');
  guide(chart, budget());
}

function drawCurves() {
  const figure = byId('curves');
  if (!figure) return;
  const chosen = [state.run, state.beside].filter((run, i, all) => run !== null && run !== undefined && DATA.curves[run] && all.indexOf(run) === i);
  const shown = chosen.map((run) => DATA.curves[run]);
  const ends = chosen.map((run) => runs.L[run]).filter((v) => v !== null);
  const losses = [...shown.flatMap((curve) => curve[1]), ...ends];
  const x = { label: 'tokens D', range: reach(shown.flatMap((c) => c[0]), 1.3), log: true, write: short };
  const chart = frame(figure, x, lossAxis(spread(losses, 0.05)));
  const place = (run) => state.convention.run.indexOf(run);
  const last = [];
  chosen.forEach((run, i) => {
    line(chart, DATA.curves[run][0], DATA.curves[run][1], 'chosen', shade(i, 3));
    const text = place(run) < 0 ? runs.id[run] : describe(state.convention, place(run), state.method);
    if (runs.L[run] !== null) last.push({ x: runs.D[run], y: runs.L[run], run, text, shape: i, colour: shade(i, 3), budget: i });
  });
  points(chart, last, choose);
  legend(figure, chosen.flatMap((run, i) => [['bowl', `${runs.id[run]}, training loss (smoothed)`, shade(i, 3)], ['run', 'held-out loss at its end', shade(i, 3), i]]));
}

/** Show the training curve of a run, and keep that of the run before beside it. */
function choose(run) {
  if (!DATA.curves[run] || run === state.run) return;
  state.beside = state.run;
  state.run = run;
  const select = byId('run');
  if (select) select.value = String(run);
  drawCurves();
}

// ------------------------------------------------------------------ the answer

function budget() { return read(state.convention.C); }

function drawAnswer() {
  const { convention, method } = state;
  const C = budget();
  const [low, high] = convention.reach;
  const status = method.statuses[method.at[Math.round(state.place)]];
  const answer = byId('answer');
  answer.replaceChildren();
  const list = html('dl', '', null, answer);
  for (const [name, head, write] of QUANTITIES) {
    const entry = html('div', '', null, list);
    html('dt', '', head, entry);
    html('dd', '', interval(method.optimum[name].map(read), write), entry).id = `at-${name}`;
  }
  const beyond = C > high * 1.02 ? `${short(C / high)} times the largest budget of the runs (${power(high)})`
    : C < low / 1.02 ? `${short(low / C)} times below the smallest run (${power(low)})` : '';
  const text = beyond ? `Extrapolated: ${beyond}. Intervals were tested up to twice the largest budget.`
    : `${power(C)} FLOPs is within the budgets of the runs; status ${status}.`;
  const note = html('p', beyond || status !== 'ok' ? 'flag warn' : 'flag', text, answer);
  note.id = 'flag';
  const field = byId('budget-text');
  if (document.activeElement !== field) field.value = power(C);
  byId('budget').value = String(Math.round(state.place));
  byId('budget').setAttribute('aria-valuetext', `${power(C)} FLOPs`);
}

function drawMethods() {
  const place = byId('methods');
  place.querySelectorAll('label').forEach((label) => label.remove());
  const known = state.convention.methods.map((m) => m.method);
  const refused = state.convention.refused.filter(([name]) => ['isoflop', 'isoflop_power', 'parametric', 'envelope'].includes(name));
  for (const name of [...known, ...refused.map(([n]) => n)]) {
    const label = html('label', known.includes(name) ? '' : 'off', null, place);
    const button = html('input', '', null, label);
    Object.assign(button, { type: 'radio', name: 'method', value: name, checked: name === state.method.method, disabled: !known.includes(name) });
    html('span', '', known.includes(name) ? name : `${name} (refused)`, label);
    button.addEventListener('change', () => { pick(state.convention, name); draw(); });
  }
  const { method, convention } = state;
  const off = method.off ? ` Between the slider's marks values are interpolated, off by at most ${round(method.off * 100, 2)} %.` : '';
  byId('method-note').textContent = `${convention.describe}. ${method.method}: ${method.status}${method.reason ? ` (${method.reason})` : ''}; `
    + `N_opt grows as C^${method.exponent}. Brackets: 90 % intervals of the stored draws.${off}`
    + refused.map(([name, why]) => ` ${name} was refused: ${why}.`).join('');
}

function pick(convention, name) {
  state.convention = convention;
  state.method = convention.methods.find((m) => m.method === name) || convention.methods[0];
}

function draw() {
  drawMethods();
  drawAnswer();
  drawBowls();
  drawCompute();
  drawContours();
  drawCurves();
}

function listRuns() {
  const figure = byId('curves');
  if (!figure) return;
  const label = html('label', 'picker', 'Run ', null);
  const select = html('select', '', null, label);
  select.id = 'run';
  for (const run of Object.keys(DATA.curves)) {
    const option = html('option', '', `${runs.id[run]}: D ${short(runs.D[run])}, loss ${round(runs.L[run], 4)}`, select);
    option.value = run;
  }
  select.addEventListener('change', () => choose(Number(select.value)));
  figure.insertBefore(label, figure.querySelector('.plot'));
  state.run = Number(Object.keys(DATA.curves)[0]);
}

function start() {
  if (!state.convention.methods.length) { // nothing was fitted: the tables say why
    byId('explore').hidden = true;
    return;
  }
  pick(state.convention, DATA.method);
  state.place = state.convention.first;
  const slider = byId('budget');
  slider.max = String(state.convention.C.length - 1);
  slider.addEventListener('input', () => { state.place = Number(slider.value); refresh(); });
  const field = byId('budget-text');
  field.addEventListener('change', () => { moveTo(parse(field.value)); refresh(); });
  document.querySelectorAll('[name=convention]').forEach((button) => button.addEventListener('change', () => {
    const C = budget();
    pick(DATA.conventions.find((c) => c.N === button.value), state.method.method);
    slider.max = String(state.convention.C.length - 1);
    moveTo(C);
    draw();
  }));
  listRuns();
  follow(draw);
}

/** Put the slider at a budget, as near as its ends allow. */
function moveTo(C) {
  const all = state.convention.C;
  if (!(C > 0)) return;
  const step = Math.log(all[1] / all[0]);
  const place = Math.log(C / all[0]) / step;
  const whole = Math.round(place);
  state.place = Math.min(all.length - 1, Math.max(0, Math.abs(place - whole) < 1e-4 ? whole : place));
}

function refresh() {
  drawAnswer();
  drawBowls();
  drawCompute();
  drawContours();
}

start();
