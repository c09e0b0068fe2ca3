#!/usr/bin/env node
// Writes doc/figures.md: what the last runs of bin/test and of the benchmarks printed, each with its command, commit and day.
//
// usage: bin/figures.mjs [SUITE...]
//
// A section is replaced when its suite ran here without a failure (.test/SUITE.log; all of them, or those named), or when its
// benchmark has left results (bench/results/*.json).  The others stay as they are: nothing is copied by hand.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const at = (...names) => path.join(root, ...names);
const file = at('doc/figures.md');
const head = `# Figures

Written by \`bin/figures.mjs\` from what runs have left, each section by one run. What is tried, and why, is told in [security.md](security.md) and
[performance.md](performance.md).
`;

// title -> text
const sections = new Map();
if (existsSync(file)) {
	for (const part of readFileSync(file, 'utf8').split(/^## /m).slice(1)) {
		const end = part.indexOf('\n');
		sections.set(part.slice(0, end), part.slice(end).trim());
	}
}

const table = (columns, rows) =>
	[columns, columns.map(() => '---'), ...rows].map((row) => `| ${row.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`).join('\n');
const number = (value, digits = 0) => value.toLocaleString('en-US', { maximumFractionDigits: digits });

// ---- Suites ---------------------------------------------------------------------------------------------------------

function suiteSection(name) {
	const [log, took] = ['log', 'took'].map((end) => at('.test', `${name}.${end}`));
	if (!existsSync(log) || !existsSync(took)) return undefined;
	const lines = readFileSync(log, 'utf8').split('\n');
	const closing = lines.filter((line) => /^\d+ passed, \d+ failed/.test(line)).pop();
	const [, day, commit] = readFileSync(took, 'utf8').trim().split(' ');
	if (!closing || !/ 0 failed/.test(closing) || !commit) return undefined;
	const figures = lines.map((line) => line.match(/^(?:# *)?figure: (.*)/)?.[1]).filter(Boolean);
	return [`${closing}. Commit ${commit}, ${day}.`, figures.map((text) => `- ${text}`).join('\n')].filter(Boolean).join('\n\n');
}

const named = process.argv.slice(2);
const suites = [...readFileSync(at('t/README.md'), 'utf8').matchAll(/^\| `(\w+)` /gm)].map(([, name]) => name);
for (const name of suites) {
	if (named.length > 0 && !named.includes(name)) continue;
	const text = suiteSection(name);
	if (text) sections.set(`bin/test ${name}`, text);
}

// ---- Benchmarks -----------------------------------------------------------------------------------------------------

function machine({ machine: m, rounds, seconds_each: seconds }) {
	const with_ = [m.postgresql, m.postgrest, m.nginx, m.unleash && `Unleash ${m.unleash}`, m.node && `node ${m.node}`].filter(Boolean);
	return `Commit ${m.commit}, ${m.at.slice(0, 10)}. ${m.cores} cores of ${m.cpu}, ${number(m.memory_mib / 1024)} GiB, Linux ${m.kernel}, load before ` +
		`${m.load_before}; ${with_.join(', ')}. Medians of ${rounds} rounds of ${seconds} s.`;
}

const goals = (list = []) => table(['goal and what was measured', 'met'], list.map(({ text, met }) => [text, met ? 'yes' : 'no']));

function sqlSection(result) {
	const parts = [machine(result), goals(result.goals)];
	if (result.scale) parts.push(table(['tokens', 'create, us', 'validate, us'],
		result.scale.map((row) => [number(row.tokens), number(row.create_us, 1), number(row.validate_us, 1)])));
	return parts.join('\n\n');
}

function httpSection(result) {
	const rows = result.measurements.map((one) => [one.name, one.stack, number(one.tokens), number(one.rps.median, 1), number(one.cpu_us.median),
		Object.entries(one.cpu_us_of).map(([name, us]) => `${name} ${number(us)}`).join(', ')]);
	return [machine(result), goals(result.goals),
		table(['request', 'stack', 'tokens', 'requests a second', 'processor time of one, us', 'of it'], rows)].join('\n\n');
}

const results = at('bench/results');
for (const name of readdirSync(results).filter((entry) => entry.endsWith('.json')).sort()) {
	const result = JSON.parse(readFileSync(path.join(results, name), 'utf8'));
	const base = path.basename(name, '.json');
	sections.set(`bench/${base}`, result.measurements ? httpSection(result) : sqlSection(result));
}

const order = (title) => (title.startsWith('bench/') ? -1 : suites.indexOf(title.replace('bin/test ', '')));
const sorted = [...sections].sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b));
writeFileSync(file, head + sorted.map(([title, text]) => `\n## ${title}\n\n${text}\n`).join(''));
