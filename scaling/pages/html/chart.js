'use strict';
// Charts as inline SVG: axes, lines, bands, and runs that pointer and keyboard reach.

const DATA = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { left: 58, right: 14, top: 10, bottom: 42 };
const SHAPES = [ // of about one area, around 0
  'M4.5 0A4.5 4.5 0 1 1-4.5 0A4.5 4.5 0 1 1 4.5 0Z', 'M-4-4H4V4H-4Z', 'M0-5.6L5.6 0L0 5.6L-5.6 0Z',
  'M-5-4H5L0 5Z', 'M-5 4H5L0-5Z', 'M-1.8-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z',
  'M0-5.5L1.6-1.8L5.5-1.6L2.5 1L3.5 5L0 2.8L-3.5 5L-2.5 1L-5.5-1.6L-1.6-1.8Z',
  'M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z',
];
const CROSS = 'M-4-4L4 4M-4 4L4-4';

const byId = (id) => document.getElementById(id);

/** 57504 as 57.5k, in three digits; the same as Python's format_quantity. */
function short(value, digits = 3) {
  if (value === null || Number.isNaN(value)) return '-';
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  if (size >= 1e15) return power(value, digits);
  for (const [scale, suffix] of [[1e12, 'T'], [1e9, 'B'], [1e6, 'M'], [1e3, 'k']]) {
    if (size >= scale) return `${Number((rounded / scale).toPrecision(digits))}${suffix}`;
  }
  return size !== 0 && size < 1e-4 ? power(value, digits) : String(rounded);
}

/** 1.6e12 as 1.6e+12, as Python writes it. */
function power(value, digits = 3) {
  if (value === null || Number.isNaN(value)) return '-';
  const [front, exponent] = value.toExponential(digits - 1).split('e');
  const two = exponent.slice(1).padStart(2, '0');
  return `${Number(front)}e${exponent[0]}${two}`;
}

/** "value [low, high]"; the value alone where there is no interval. */
function interval([value, low, high], write = short) {
  return low === null || high === null ? write(value) : `${write(value)} [${write(low)}, ${write(high)}]`;
}

/** 70B, 1.4T, 5.76e23 as a number; NaN where it is none. */
function parse(text) {
  const found = /^\s*([\d.]+(?:e[+-]?\d+)?)\s*([kmbgt]?)\s*$/i.exec(text.replaceAll(',', ''));
  if (!found) return NaN;
  const scale = { '': 1, k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 }[found[2].toLowerCase()];
  return Number(found[1]) * scale;
}

function element(name, attributes = {}, parent = null, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function html(name, className, text, parent) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== null) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

/** A colour for step i of n, from violet to ochre; light or dark by the style sheet. */
function shade(i, n) {
  const hue = 270 - 225 * (n > 1 ? i / (n - 1) : 0);
  return `hsl(${hue.toFixed(0)} 60% var(--tone))`;
}

// ------------------------------------------------------------------ axes

function reach(values, pad) {
  const known = values.filter((v) => Number.isFinite(v) && v > 0);
  return [Math.min(...known) / pad, Math.max(...known) * pad];
}

/** Ticks of a logarithmic axis that have room for their labels. */
function logTicks([low, high], pixels, width) {
  const choices = [[1, 2, 3, 5], [1, 2, 5], [1, 3], [1]].map((steps) => ({ steps, every: 1 }));
  for (let every = 2; every < 12; every += 1) choices.push({ steps: [1], every });
  for (const { steps, every } of choices) {
    const ticks = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k += 1) {
      if (k % every === 0) ticks.push(...steps.map((step) => Number(`${step}e${k}`)));
    }
    const kept = ticks.filter((tick) => tick >= low && tick <= high);
    const place = (v) => Math.log(v / low) / Math.log(high / low) * pixels;
    const roomy = kept.every((tick, i) => i === 0 || place(tick) - place(kept[i - 1]) >= width);
    if (roomy && kept.length > 1) return kept;
    if (roomy && every > 1) break;
  }
  return evenTicks([low, high], pixels, width);
}

function evenTicks([low, high], pixels, width) {
  const most = Math.max(2, Math.floor(pixels / width));
  const step = [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 9, 12, 15, 18, 21]
    .flatMap((k) => [1, 2, 5].map((s) => Number(`${s}e${k}`)))
    .find((s) => (high - low) / s <= most);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i += 1) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** An empty chart in a figure: x and y have label, range, log and write. */
function frame(figure, x, y) {
  const plot = figure.querySelector('.plot');
  const width = Math.max(280, plot.clientWidth || 560);
  const height = Math.round(Math.min(400, Math.max(270, width * 0.64)));
  const svg = element('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', tabindex: '-1' });
  svg.setAttribute('aria-label', `${figure.querySelector('figcaption').textContent}. Arrow keys go from run to run.`);
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const scale = ({ range: [low, high], log }, from, to) => {
    const at = log ? Math.log : (v) => v;
    return (v) => from + (at(v) - at(low)) / (at(high) - at(low)) * (to - from);
  };
  const made = { figure, svg, x, y, width, height, right, bottom, points: [] };
  made.X = scale(x, MARGIN.left, right);
  made.Y = scale(y, bottom, MARGIN.top);
  const clip = `clip-${figure.id}`;
  const hole = element('clipPath', { id: clip }, element('defs', {}, svg));
  element('rect', { x: MARGIN.left, y: MARGIN.top, width: right - MARGIN.left, height: bottom - MARGIN.top }, hole);
  const axes = element('g', { class: 'axes', 'aria-hidden': 'true' }, svg);
  const [wide, tall] = [right - MARGIN.left, bottom - MARGIN.top];
  for (const tick of (x.log ? logTicks(x.range, wide, 58) : evenTicks(x.range, wide, 60))) {
    element('line', { x1: made.X(tick), x2: made.X(tick), y1: MARGIN.top, y2: bottom }, axes);
    const end = made.X(tick) > right - 14 ? 'end' : 'middle';
    element('text', { x: made.X(tick), y: bottom + 16, 'text-anchor': end }, axes, x.write(tick));
  }
  for (const tick of (y.log ? logTicks(y.range, tall, 24) : evenTicks(y.range, tall, 34))) {
    element('line', { x1: MARGIN.left, x2: right, y1: made.Y(tick), y2: made.Y(tick) }, axes);
    element('text', { x: MARGIN.left - 6, y: made.Y(tick) + 4, 'text-anchor': 'end' }, axes, y.write(tick));
  }
  element('text', { x: (MARGIN.left + right) / 2, y: height - 6, 'text-anchor': 'middle', class: 'label' }, axes, x.label);
  const turned = { transform: `translate(13 ${(MARGIN.top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle', class: 'label' };
  element('text', turned, axes, y.label);
  made.inside = element('g', { 'clip-path': `url(#${clip})` }, svg);
  plot.replaceChildren(svg);
  return made;
}

// ------------------------------------------------------------------ what stands in a chart

function path(chart, xs, ys) {
  let pen = 'M';
  let text = '';
  xs.forEach((x, i) => {
    if (x === null || ys[i] === null || !(ys[i] > 0)) { pen = 'M'; return; }
    text += `${pen}${chart.X(x).toFixed(1)} ${chart.Y(ys[i]).toFixed(1)}`;
    pen = 'L';
  });
  return text;
}

function line(chart, xs, ys, className, colour = null) {
  const made = element('path', { d: path(chart, xs, ys), class: `line ${className}` }, chart.inside);
  if (colour) made.style.stroke = colour;
  return made;
}

function band(chart, xs, low, high) {
  const kept = xs.map((_, i) => i).filter((i) => low[i] > 0 && high[i] > 0);
  if (kept.length < 2) return;
  const pick = (values) => kept.map((i) => values[i]);
  const there = path(chart, pick(xs), pick(low));
  const back = path(chart, pick(xs).reverse(), pick(high).reverse());
  element('path', { d: `${there}${back.replace('M', 'L')}Z`, class: 'band' }, chart.inside);
}

/** An upright bar of an interval, and the mark on it. */
function mark(chart, x, [value, low, high]) {
  if (value === null) return;
  const at = chart.X(x);
  if (low !== null && high !== null) {
    element('line', { x1: at, x2: at, y1: chart.Y(low), y2: chart.Y(high), class: 'whisker' }, chart.inside);
  }
  element('path', { d: SHAPES[6], transform: `translate(${at} ${chart.Y(value)}) scale(1.25)`, class: 'star' }, chart.inside);
}

function guide(chart, x) {
  if (x < chart.x.range[0] || x > chart.x.range[1]) return;
  element('line', { x1: chart.X(x), x2: chart.X(x), y1: MARGIN.top, y2: chart.bottom, class: 'guide' }, chart.inside);
}

/** Draw runs: each {x, y, run, text, colour, shape, budget, stopped}; one stop of Tab for all. */
function points(chart, items, choose) {
  const layer = element('g', { class: 'runs' }, chart.svg);
  chart.points = items.map((item) => {
    const y = item.stopped ? chart.Y(chart.y.range[1]) + 9 : chart.Y(item.y);
    const [x, shape] = [chart.X(item.x), item.stopped ? CROSS : SHAPES[item.shape % SHAPES.length]];
    const node = element('path', {
      d: shape, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, tabindex: '-1', role: 'img',
      'aria-label': item.text, 'data-run': item.run, class: item.stopped ? 'run stopped' : 'run',
    }, layer);
    if (item.colour) node.style.setProperty('--colour', item.colour);
    return { ...item, at: [x, y], node };
  });
  const told = chart.figure.querySelector('.told');
  const tell = (point) => {
    told.textContent = point.text;
    document.querySelectorAll('.run.on').forEach((node) => node.classList.remove('on'));
    document.querySelectorAll(`.run[data-run="${point.run}"]`).forEach((node) => node.classList.add('on'));
  };
  const nearest = (event) => {
    const box = chart.svg.getBoundingClientRect();
    const scale = chart.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const far = (p) => Math.hypot(p.at[0] - x, p.at[1] - y);
    const found = chart.points.reduce((a, b) => (far(b) < far(a) ? b : a), chart.points[0]);
    return found && far(found) < 24 ? found : null;
  };
  chart.svg.addEventListener('pointermove', (event) => { const p = nearest(event); if (p) tell(p); });
  chart.svg.addEventListener('click', (event) => { const p = nearest(event); if (p) { tell(p); choose(p.run); } });
  chart.points.forEach((p) => p.node.addEventListener('focus', () => { tell(p); rove(chart, p); }));
  chart.svg.addEventListener('keydown', (event) => walk(chart, event, choose));
  if (chart.points.length) chart.points[0].node.setAttribute('tabindex', '0');
}

function rove(chart, point) {
  for (const p of chart.points) p.node.setAttribute('tabindex', p === point ? '0' : '-1');
}

/** Left and right along the runs of a budget and on to the next; up and down between budgets. */
function walk(chart, event, choose) {
  const list = chart.points;
  const here = list.findIndex((p) => p.node === document.activeElement);
  if (here < 0) return;
  if (event.key === 'Enter' || event.key === ' ') { choose(list[here].run); event.preventDefault(); return; }
  const to = {
    ArrowRight: () => Math.min(here + 1, list.length - 1), ArrowLeft: () => Math.max(here - 1, 0),
    Home: () => 0, End: () => list.length - 1,
    ArrowUp: () => across(list, here, 1), ArrowDown: () => across(list, here, -1),
  }[event.key];
  if (!to) return;
  event.preventDefault();
  list[to()].node.focus();
}

function across(list, here, sign) {
  const others = list.map((p, i) => i).filter((i) => sign * (list[i].budget - list[here].budget) > 0);
  if (!others.length) return here;
  const next = Math.min(...others.map((i) => Math.abs(list[i].budget - list[here].budget)));
  const near = others.filter((i) => Math.abs(list[i].budget - list[here].budget) <= next * 1.0001);
  const far = (i) => Math.abs(list[i].at[0] - list[here].at[0]) + Math.abs(list[i].at[1] - list[here].at[1]);
  return near.reduce((a, b) => (far(b) < far(a) ? b : a));
}

/** What colours, marks and lines mean: entries of [kind, text, colour, shape]. */
function legend(figure, entries) {
  const place = figure.querySelector('.legend');
  place.replaceChildren();
  for (const [kind, text, colour, shape] of entries) {
    const entry = html('span', '', null, place);
    const key = element('svg', { viewBox: '-9 -7 18 14', 'aria-hidden': 'true' }, entry);
    const d = kind === 'run' ? SHAPES[shape % SHAPES.length] : kind === 'star' ? SHAPES[6] : kind === 'stopped' ? CROSS : 'M-9 0H9';
    const drawn = element('path', { d, class: kind === 'run' || kind === 'star' || kind === 'stopped' ? `${kind} still` : `line ${kind}` }, key);
    if (colour) { drawn.style.setProperty('--colour', colour); if (kind.startsWith('bowl')) drawn.style.stroke = colour; }
    html('span', '', text, entry);
  }
}

/** Draw again where the width changed, and open everything for print. */
function follow(draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = document.querySelector('.plot').clientWidth;
    if (Math.abs(now - width) > 1) { width = now; draw(); }
  }).observe(document.body);
  const closed = [];
  addEventListener('beforeprint', () => document.querySelectorAll('details:not([open])').forEach((d) => { d.open = true; closed.push(d); }));
  addEventListener('afterprint', () => { while (closed.length) closed.pop().open = false; });
}
