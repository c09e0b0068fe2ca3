// The rounds of bench/http, which starts the servers and says in the environment where they are: BASE_URL, ADMIN_TOKEN, PGHOST,
// PGDATABASE, PGUSER (ours), PLAIN_URL (the same without the extension), PEER_URL, PEER_ADMIN, PEER_PGHOST (Unleash; unset: not
// there), PSQL, MACHINE (JSON), ROUNDS, SECONDS_EACH, RESULTS (the file to write), GOALS (the file for "met key text" lines).
// The processes of a stack are named by OURS_PIDS, PLAIN_PIDS and PEER_PIDS.  With LANE_URL, LANE_PIDS, DIRECT_URL and DIRECT_PIDS
// only what authd answers is measured.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const env = process.env;
const here = path.dirname(fileURLToPath(import.meta.url));
const rounds = Number(env.ROUNDS), seconds = Number(env.SECONDS_EACH);
const TOKENS = '/api/admin/api-tokens';

// ---- The stacks -----------------------------------------------------------------------------------------------------

const sql = (host, database, user) => (command) => execFileSync(env.PSQL,
	['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-h', host, '-p', '5432', '-U', user, '-d', database],
	{ input: command, encoding: 'utf8', env: { ...env, PGOPTIONS: '-c client_min_messages=warning' } }).trim();

const oursSql = sql(env.PGHOST, env.PGDATABASE, env.PGUSER);
const ours = {
	name: 'ours', url: env.BASE_URL, admin: env.ADMIN_TOKEN, pids: env.OURS_PIDS, sql: oursSql,
	created: `SELECT count(*) FROM unleash_tokens.api_token WHERE token_name LIKE 'bench-%'`,
	clear: `DELETE FROM unleash_tokens.api_token WHERE token_name ~ '^(bench|seed)-';
		DELETE FROM unleash_tokens.api_token_event;`,
	tidy: `VACUUM ANALYZE unleash_tokens.api_token, unleash_tokens.api_token_project, unleash_tokens.api_token_event;`,
	seed: (n) => `INSERT INTO unleash_tokens.project VALUES ('alpha'), ('beta') ON CONFLICT DO NOTHING;
		SELECT count(unleash_tokens.create_api_token(jsonb_build_object('tokenName', 'seed-' || i, 'environment', 'development',
			'type', CASE WHEN i % 3 = 0 THEN 'frontend' ELSE 'client' END,
			'expiresAt', CASE WHEN i % 5 = 0 THEN '2099-01-01T00:00:00Z' END,
			'projects', CASE i % 10 WHEN 8 THEN '["alpha"]' WHEN 9 THEN '["alpha", "beta"]' ELSE '["*"]' END::jsonb)))
		FROM generate_series(1, ${n}) AS i;`,
};
const plain = { ...ours, name: 'plain', url: env.PLAIN_URL, pids: env.PLAIN_PIDS };
const lane = { ...ours, name: 'authd', url: env.LANE_URL, pids: env.LANE_PIDS };
const direct = { ...ours, name: 'direct', url: env.DIRECT_URL, pids: env.DIRECT_PIDS };
// what a create of Unleash writes: a token, a row for each project, an event
const peer = env.PEER_URL && {
	name: 'unleash', url: env.PEER_URL, admin: env.PEER_ADMIN, pids: env.PEER_PIDS, sql: sql(env.PEER_PGHOST, 'unleash', 'postgres'),
	created: `SELECT count(*) FROM api_tokens WHERE token_name LIKE 'bench-%'`,
	clear: `DELETE FROM api_tokens WHERE token_name ~ '^(bench|seed)-'; DELETE FROM events WHERE type = 'api-token-created';`,
	tidy: 'VACUUM ANALYZE api_tokens, api_token_project, events;',
	seed: (n) => `INSERT INTO projects (id, name, description) VALUES ('alpha', 'Alpha', ''), ('beta', 'Beta', '') ON CONFLICT DO NOTHING;
		WITH seed AS (
			SELECT i, CASE i % 10 WHEN 8 THEN 'alpha' WHEN 9 THEN '[]' ELSE '*' END AS scope FROM generate_series(1, ${n}) AS i),
		token AS (
			INSERT INTO api_tokens (secret, username, token_name, type, environment, expires_at, created_by_user_id)
			SELECT scope || ':development.' || substr(encode(sha256(i::text::bytea), 'hex'), 1, 56), 'seed-' || i, 'seed-' || i,
				CASE WHEN i % 3 = 0 THEN 'frontend' ELSE 'client' END, 'development',
				CASE WHEN i % 5 = 0 THEN timestamptz '2099-01-01 00:00:00Z' END, -42 FROM seed RETURNING secret)
		INSERT INTO api_token_project SELECT secret, p FROM token, unnest(CASE WHEN secret LIKE 'alpha:%' THEN ARRAY['alpha']
			WHEN secret LIKE '[]:%' THEN ARRAY['alpha', 'beta'] ELSE ARRAY[]::text[] END) AS p;`,
};
const both = peer ? [ours, peer] : [ours];

// Microseconds of processor time that each server of a stack has used: every process below it, those waited for included.
function cpuOfEach(stack) {
	const all = new Map();
	for (const name of readdirSync('/proc')) {
		if (!/^\d+$/.test(name)) continue;
		try {
			const text = readFileSync(`/proc/${name}/stat`, 'utf8');
			const comm = text.slice(text.indexOf('(') + 1, text.lastIndexOf(')'));
			const field = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number);
			all.set(Number(name), { name: comm, parent: field[1], ticks: field[11] + field[12] + field[13] + field[14] });
		} catch { /* it has ended: its parent has its time */ }
	}
	const roots = new Set(stack.pids.split(' ').map(Number));
	for (const pid of roots) assert.ok(all.has(pid), `process ${pid} of ${stack.name} has ended`);
	const used = {};
	for (const pid of all.keys()) {
		let at = pid;
		while (all.has(at) && !roots.has(at)) at = all.get(at).parent;
		if (!roots.has(at)) continue;
		const { name } = all.get(at);
		used[name] = (used[name] ?? 0) + all.get(pid).ticks * 1e6 / Number(env.CLK_TCK);
	}
	return used;
}

const sum = (used) => Object.values(used).reduce((a, b) => a + b, 0);
const cpu = (stack) => sum(cpuOfEach(stack));

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// wrk hangs up on requests that are under way: until the stack has finished them, its processor time says too little.
async function settle(stack) {
	let last = cpu(stack);
	for (let i = 0; i < 100; i++) {
		await pause(150);
		const now = cpu(stack);
		if (now - last <= 20000) return;
		last = now;
	}
	throw new Error(`${stack.name} does not come to rest`);
}

// ---- What is measured -----------------------------------------------------------------------------------------------

const json = { 'Content-Type': 'application/json' };
const createBody = (name) => JSON.stringify({ type: 'client', tokenName: name, environment: 'development', projects: ['default'] });

async function ask(stack, what, key) {
	const body = what.body && what.body(stack).replaceAll('@', '0');
	const headers = { ...(key && { Authorization: key }), ...(body && json) };
	const answer = await fetch(stack.url + what.target, { method: what.method ?? 'GET', headers, body });
	return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

const listed = (count) => (text) => {
	const { tokens } = JSON.parse(text);
	assert.equal(tokens.length, count);
	for (const token of tokens) assert.ok(token.tokenName && token.type && Array.isArray(token.projects) && token.secret && token.createdAt);
};
const wanted = { // name -> what to send, and what must come back
	'create': {
		method: 'POST', target: TOKENS, body: () => createBody('bench-@'), status: 201, connections: 8,
		check: (text) => {
			const token = JSON.parse(text);
			assert.equal(token.tokenName, 'bench-0');
			assert.match(token.secret, /^default:development\..{50,}/);
			assert.deepEqual(token.projects, ['default']);
		},
	},
	'list-10': { target: TOKENS, connections: 8, check: listed(10) },
	'list-1000': { target: TOKENS, connections: 8, check: listed(1000), large: true },
	'list-10000': { target: TOKENS, connections: 2, check: listed(10000), large: true },
	'by-name': {
		target: `${TOKENS}/seed-4711`, connections: 2,
		check: (text) => {
			listed(1)(text);
			assert.equal(JSON.parse(text).tokens[0].tokenName, 'seed-4711');
		},
	},
	'unknown-401': { target: TOKENS, connections: 8, status: 401, key: (stack) => stack.unknown, check: JSON.parse },
	'client-403': { target: TOKENS, connections: 8, status: 403, key: (stack) => stack.client, check: JSON.parse },
	'edge-validate': {
		method: 'POST', target: '/edge/validate', connections: 8, key: () => undefined,
		body: (stack) => JSON.stringify({ tokens: [stack.client, stack.unknown] }),
		check: (text) => {
			const { tokens } = JSON.parse(text);
			assert.deepEqual(tokens.map((token) => [token.type, token.projects]), [['client', ['default']]]);
		},
	},
	'auth': { target: '/auth', connections: 8, status: 204, key: (stack) => stack.client, check: () => {} },
	'auth-64': { target: '/auth', connections: 64, status: 204, key: (stack) => stack.client, check: () => {} },
	'auth-1': { target: '/auth', connections: 1, status: 204, key: (stack) => stack.client, check: () => {} },
	'auth-half': { target: '/auth', connections: 64, status: 204, key: (stack) => stack.client, check: () => {}, pause: (stack) => stack.pause },
	'auth-401': { target: '/auth', connections: 8, status: 401, key: (stack) => stack.unknown, check: JSON.parse },
	// the stack without the extension
	'inserts': { method: 'POST', target: TOKENS, body: () => createBody('bench-@'), connections: 8, key: () => undefined, check: (text) => assert.equal(text, '') },
	'empty-post': { method: 'POST', target: '/edge/validate', body: () => '{"tokens":[]}', connections: 8, key: () => undefined, check: (text) => assert.equal(text, '') },
	'empty-get': { target: '/', connections: 8, key: () => undefined, check: (text) => assert.equal(text, '') },
};
const keyOf = (stack, what) => what.key ? what.key(stack) : stack.admin;

// The right answer, once: a figure of a wrong one means nothing.  Gives its length.
async function check(stack, name) {
	const what = wanted[name];
	const answer = await ask(stack, what, keyOf(stack, what));
	try {
		assert.equal(answer.status, what.status ?? 200);
		what.check(answer.text);
	} catch (error) {
		error.message = `${stack.name} ${name}: ${error.message}\n${answer.text.slice(0, 500)}`;
		throw error;
	}
	return Buffer.byteLength(answer.text);
}

// ---- Measuring ------------------------------------------------------------------------------------------------------

function wrk(stack, what, duration) {
	return new Promise((resolve, reject) => {
		const child = spawn('wrk', ['-t1', `-c${what.connections}`, `-d${duration}s`, '--timeout', '20s', '-s', path.join(here, 'http.lua'), stack.url], {
			env: {
				PATH: env.PATH, METHOD: what.method ?? 'GET', TARGET: what.target, STATUS: String(what.status ?? 200),
				...(keyOf(stack, what) && { KEY: keyOf(stack, what) }), ...(what.body && { BODY: what.body(stack) }), ...(!what.large && { SMALL: 'yes' }),
				...(what.pause && { PAUSE: String(what.pause(stack)) }),
			},
			stdio: ['ignore', 'pipe', 'inherit'],
		});
		let out = '';
		child.stdout.on('data', (data) => { out += data; });
		child.on('error', reject);
		child.on('close', (status) => {
			const line = out.split('\n').find((text) => text.startsWith('{'));
			if (status === 0 && line) resolve(JSON.parse(line));
			else reject(new Error(`wrk ended with ${status}: ${out}`));
		});
	});
}

const writes = (name) => name === 'create' || name === 'inserts';

function empty(stack) {
	stack.sql(`${stack.clear}\n${stack.tidy}`);
}

async function measure(stack, name, duration, length) {
	const what = wanted[name];
	if (writes(name)) empty(stack);
	await settle(stack);
	const before = cpuOfEach(stack);
	const got = await wrk(stack, what, duration);
	await settle(stack);
	const used = cpuOfEach(stack);
	for (const server of Object.keys(used)) used[server] -= before[server];
	const of = `${stack.name} ${name}`;
	assert.ok(got.requests > 0, `${of}: no answer within ${duration} s`);
	assert.equal(got.broken, 0, `${of}: connections broke`);
	assert.equal(got.wrong, 0, `${of}: ${got.wrong} answers of another status`);
	assert.equal(got.refused, (what.status ?? 200) < 400 ? 0 : got.requests, `${of}: refusals`);
	assert.ok(got.bytes >= got.requests * length * 0.97, `${of}: ${got.bytes} bytes for ${got.requests} answers of ${length}`);
	// those under way at the end were served too; of writes the table says how many
	let served = got.requests + what.connections;
	if (writes(name)) {
		const rows = Number(stack.sql(stack.created));
		assert.ok(rows >= got.requests && rows <= served, `${of}: ${rows} rows of ${got.requests} requests`);
		served = rows;
	}
	for (const server of Object.keys(used)) used[server] /= served;
	return { rps: got.requests / got.seconds, cpu_us: sum(used), cpu_of: used, p50_ms: got.p50_ms, p99_ms: got.p99_ms };
}

const median = (values) => {
	const sorted = [...values].sort((a, b) => a - b);
	return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};
const digits = (value) => Number(value.toPrecision(4));
const summary = (values) => ({ median: digits(median(values)), rounds: values.map(digits) });
const measurements = [];
const found = new Map(); // "stack name" -> the rounds

// Each round asks all in turn, and the next one begins with another.
async function alternate(contenders, tokens) {
	const lengths = [];
	for (const [stack, name] of contenders) {
		lengths.push(await check(stack, name));
		await measure(stack, name, Math.min(seconds, 2), 0);
	}
	const all = contenders.map(() => []);
	for (let round = 0; round < rounds; round++) {
		for (let i = 0; i < contenders.length; i++) {
			const at = (i + round) % contenders.length;
			all[at].push(await measure(...contenders[at], seconds, lengths[at]));
		}
	}
	contenders.forEach(([stack, name], i) => {
		const row = { name, stack: stack.name, tokens, connections: wanted[name].connections };
		for (const field of ['rps', 'cpu_us', 'p50_ms', 'p99_ms']) row[field] = summary(all[i].map((one) => one[field]));
		row.cpu_us_of = Object.fromEntries(Object.keys(all[i][0].cpu_of).map((server) => [server, digits(median(all[i].map((one) => one.cpu_of[server])))]));
		measurements.push(row);
		found.set(`${stack.name} ${name}`, all[i]);
		console.log(`${name.padEnd(14)} ${stack.name.padEnd(8)} ${row.rps.median.toFixed(1).padStart(9)}/s ${row.cpu_us.median.toFixed(0).padStart(8)} us of processor time (` +
			`${Object.entries(row.cpu_us_of).map(([server, us]) => `${server} ${us.toFixed(0)}`).join(', ')}), p50 ${row.p50_ms.median.toFixed(2)} ms, p99 ${row.p99_ms.median.toFixed(2)} ms`);
	});
}

// ---- Ratios and goals -----------------------------------------------------------------------------------------------

const ratios = [];
// Of each round on its own, since its measurements were made one after the other.
function ratio(key, field, [upperStack, upperName], [lowerStack, lowerName]) {
	const upper = found.get(`${upperStack} ${upperName}`), lower = found.get(`${lowerStack} ${lowerName}`);
	if (!upper || !lower) return undefined;
	const row = { key, field, of: `${upperStack} ${upperName}`, to: `${lowerStack} ${lowerName}`, ...summary(upper.map((one, i) => one[field] / lower[i][field])) };
	ratios.push(row);
	return row.median;
}

function compareAll() {
	for (const name of Object.keys(wanted)) {
		ratio(`${name}-rps`, 'rps', ['ours', name], ['unleash', name]);
		ratio(`${name}-cpu`, 'cpu_us', ['unleash', name], ['ours', name]);
	}
	ratio('inserts-cpu', 'cpu_us', ['ours', 'create'], ['plain', 'inserts']);
	ratio('empty-post-cpu', 'cpu_us', ['ours', 'edge-validate'], ['plain', 'empty-post']);
	ratio('empty-get-cpu', 'cpu_us', ['ours', 'by-name'], ['plain', 'empty-get']);
}

const laneTargets = [
	['auth-8-rps', ['authd', 'auth'], ['ours', 'auth'], 'rps', 3, '/auth through nginx against the way through PostgREST, 8 connections, requests/s: at least 3 x'],
	['auth-64-rps', ['authd', 'auth-64'], ['ours', 'auth-64'], 'rps', 4, 'the same, 64 connections: at least 4 x'],
	['auth-8-cpu', ['ours', 'auth'], ['authd', 'auth'], 'cpu_us', 4, 'the same, 8 connections, processor time: at most 1/4'],
	['auth-64-cpu', ['ours', 'auth-64'], ['authd', 'auth-64'], 'cpu_us', 4, 'the same, 64 connections, processor time: at most 1/4'],
	['auth-direct-cpu', ['ours', 'auth'], ['direct', 'auth'], 'cpu_us', 8, '/auth asked directly, 8 connections, processor time: at most 1/8'],
	['edge-cpu', ['unleash', 'edge-validate'], ['authd', 'edge-validate'], 'cpu_us', 3, '/edge/validate against Unleash, processor time: at most 1/3'],
	['edge-rps', ['authd', 'edge-validate'], ['unleash', 'edge-validate'], 'rps', 3, '/edge/validate against Unleash, requests/s: at least 3 x'],
	['auth-401-cpu', ['unleash', 'unknown-401'], ['authd', 'auth-401'], 'cpu_us', 3, '401 against that of Unleash, processor time: at most 1/3'],
	['auth-half-p99', ['ours', 'auth-half'], ['authd', 'auth-half'], 'p99_ms', 3, 'p99 at half of its peak rate, 64 connections: at most a third of that through PostgREST'],
	['auth-1-p50', ['ours', 'auth-1'], ['authd', 'auth-1'], 'p50_ms', 2, 'one connection, p50: at most half of that through PostgREST'],
].map(([key, of, to, field, least, text]) => ({ key, of, to, field, text, met: (r) => r >= least, show: (r) => field === 'rps' ? `${r} x` : `1/${r}` }));

const targets = env.LANE_URL ? laneTargets.map(({ key, text, met, show }) => [key, text, met, show]) : [
	['create-rps', 'create against Unleash, 8 connections, requests/s: at least 10 x', (r) => r >= 10, (r) => `${r} x`],
	['create-cpu', 'create against Unleash, processor time a request: at most 1/8', (r) => r >= 8, (r) => `1/${r}`],
	['list-10000-cpu', 'list of 10,000 against Unleash, processor time a request: at most 1/6', (r) => r >= 6, (r) => `1/${r}`],
	['by-name-cpu', 'by name among 10,000 against Unleash, processor time a request: at most 1/100', (r) => r >= 100, (r) => `1/${r}`],
	['inserts-cpu', 'create against an empty function and the same INSERTs, processor time a request: at most 1.10 x', (r) => r <= 1.10, (r) => `${r} x`],
];

// For bench/http, which knows what doc/performance.md says of them.
function goals() {
	return targets.map(([key, text, met, show]) => {
		const value = ratios.find((row) => row.key === key)?.median;
		return value === undefined ? '' : `${met(value) ? 1 : 0} http-${key} ${text}; measured ${show(value)}\n`;
	}).join('');
}

// ---- The run --------------------------------------------------------------------------------------------------------

const settingNames = ['fsync', 'synchronous_commit', 'full_page_writes'];
const settings = (stack) => Object.fromEntries([...settingNames, 'shared_buffers'].map((name) => [name, stack.sql(`SHOW ${name}`)]));

// A client token for 403 and for validation, and a secret that was valid once.
async function prepare(stack) {
	for (const name of settingNames) assert.equal(stack.sql(`SHOW ${name}`), 'on', `${name} of ${stack.name}`);
	const made = [];
	for (const name of ['client', 'unknown']) {
		const answer = await ask(stack, { method: 'POST', target: TOKENS, body: () => createBody(name) }, stack.admin);
		assert.equal(answer.status, 201, answer.text);
		made.push(JSON.parse(answer.text).secret);
	}
	[stack.client, stack.unknown] = made;
	const answer = await fetch(`${stack.url}${TOKENS}/${encodeURIComponent(stack.unknown)}`, { method: 'DELETE', headers: { Authorization: stack.admin } });
	assert.equal(answer.status, 200);
	await answer.text();
}

// So many tokens in all, the two that are always there included.
function fill(tokens) {
	for (const stack of both) {
		stack.sql(`${stack.clear}\n${stack.tidy}`);
		stack.sql(`BEGIN; ${stack.seed(tokens - 2)} COMMIT;`);
		stack.sql(stack.tidy);
	}
}

const each = (name) => both.map((stack) => [stack, name]);

async function main() {
	for (const stack of both) await prepare(stack);
	if (!env.LANE_URL) await alternate([...each('create'), [plain, 'inserts']], 2);
	if (env.LANE_URL) {
		await measureLane();
		return finishRun();
	}
	empty(ours);
	await alternate([[plain, 'empty-post'], [plain, 'empty-get']], 2);
	fill(10);
	await alternate(each('list-10'), 10);
	fill(1000);
	await alternate(each('list-1000'), 1000);
	fill(10000);
	await alternate(each('list-10000'), 10000);
	await alternate([...each('by-name'), [ours, 'auth']], 10000);
	for (const name of ['unknown-401', 'client-403', 'edge-validate']) await alternate(each(name), 10000);
	compareAll();
	finishRun();
}

// At half of the rate that each had at its peak: every connection pauses for the other half, more or less.
async function measureLane() {
	fill(10000);
	[lane.client, lane.unknown, direct.client, direct.unknown] = [ours.client, ours.unknown, ours.client, ours.unknown];
	await alternate([[ours, 'auth'], [lane, 'auth'], [direct, 'auth']], 10000);
	await alternate([[ours, 'auth-64'], [lane, 'auth-64'], [direct, 'auth-64']], 10000);
	await alternate([[ours, 'auth-1'], [lane, 'auth-1'], [direct, 'auth-1']], 10000);
	for (const stack of [ours, lane]) {
		const peak = median(found.get(`${stack.name} auth-64`).map((one) => one.rps));
		stack.pause = wanted['auth-64'].connections / (peak / 2) * 1000;
	}
	await alternate([[ours, 'auth-half'], [lane, 'auth-half']], 10000);
	await alternate([[ours, 'edge-validate'], [lane, 'edge-validate'], ...(peer ? [[peer, 'edge-validate']] : [])], 10000);
	// Unleash forgets a token some time after it was deleted
	for (let i = 0; peer && (await ask(peer, wanted['unknown-401'], peer.unknown)).status !== 401; i++) {
		assert.ok(i < 240, 'Unleash still knows a token that was deleted');
		await pause(500);
	}
	await alternate([[ours, 'auth-401'], [lane, 'auth-401'], ...(peer ? [[peer, 'unknown-401']] : [])], 10000);
	for (const { key, of, to, field } of laneTargets) ratio(key, field, of, to);
}

function finishRun() {
	const result = {
		machine: JSON.parse(env.MACHINE),
		settings: Object.fromEntries(both.map((stack) => [stack.name, settings(stack)])),
		rounds, seconds_each: seconds, measurements, ratios,
		goals: goals().split('\n').filter(Boolean).map((line) => ({ met: line.startsWith('1'), text: line.slice(2).replace(' ', ': ') })),
	};
	writeFileSync(env.RESULTS, `${JSON.stringify(result, null, '\t').replace(/\[[^\][{}]*\]/g, (list) => list.replace(/\s+/g, ' '))}\n`);
	writeFileSync(env.GOALS, goals());
}

await main();
