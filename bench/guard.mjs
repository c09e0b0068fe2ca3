// The requests and statements of bench/guard, in turns; prints medians and, as "goal" lines, what is to be met.

import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';

const { BENCH_RUN, BENCH_PSQL, BENCH_PGBENCH, PGHOST, PGDATABASE, GATE_PORT, BASE_URL, NOTES_CLIENT, BENCH_CLUSTER, BENCH_SERVE } = process.env;
const rounds = Number(process.env.ROUNDS ?? 7), requests = Number(process.env.REQUESTS ?? 3000);
const pids = Object.fromEntries(process.env.BENCH_PIDS.split(' ').map((pair) => pair.split('=')));
const postmaster = readFileSync(`${BENCH_CLUSTER}/postmaster.pid`, 'utf8').split('\n')[0];
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

const stat = (pid) => { try { return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' '); } catch { return null; } };
// Ticks of processor time of these processes and all below them, in order of their parents.
function ticks(roots) {
	const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((pid) => [pid, stat(pid)]).filter(([, s]) => s);
	const wanted = new Set(roots.map(String));
	for (let grown = true; grown;) {
		grown = false;
		for (const [pid, s] of all) if (wanted.has(s[1]) && !wanted.has(pid)) { wanted.add(pid); grown = true; }
	}
	return all.filter(([pid]) => wanted.has(pid)).reduce((sum, [, s]) => sum + Number(s[11]) + Number(s[12]), 0);
}

const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const part = `${b64({ alg: 'HS256', typ: 'JWT' })}.${b64({ role: 'notes_client' })}`;
const jwt = `${part}.${createHmac('sha256', 'a-secret-of-this-test-that-is-long-enough').update(part).digest('base64url')}`;
const kinds = {
	plain: { socketPath: `${BENCH_RUN}/plain`, headers: {}, roots: [pids.plain, postmaster] },
	empty: { socketPath: `${BENCH_RUN}/empty`, headers: {}, roots: [pids.empty, postmaster] },
	jwt: { socketPath: `${BENCH_RUN}/jwt`, headers: { Authorization: `Bearer ${jwt}` }, roots: [pids.jwt, postmaster] },
	guarded: { socketPath: `${BENCH_RUN}/guarded`, headers: { apikey: NOTES_CLIENT }, roots: [pids.guarded, postmaster] },
	// all that bin/serve started: the PostgREST and nginx of the token API, and PostgreSQL
	gate: { host: '127.0.0.1', port: GATE_PORT, headers: { Authorization: NOTES_CLIENT }, roots: [pids.gate, pids.plain, BENCH_SERVE] },
};
for (const kind of Object.values(kinds)) kind.agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

function ask({ agent, roots, ...options }) {
	return new Promise((resolve, reject) => {
		http.get({ ...options, agent, path: `/plain?id=eq.${1 + Math.floor(Math.random() * 1e6)}` }, (answer) => {
			answer.resume();
			answer.on('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))));
		}).on('error', reject);
	});
}

async function run(kind, count) {
	let left = count;
	const before = ticks(kind.roots);
	await Promise.all(Array.from({ length: 8 }, async () => { while (left-- > 0) await ask(kind); }));
	return (ticks(kind.roots) - before) * 10000 / count;
}

const cost = Object.fromEntries(Object.keys(kinds).map((name) => [name, []]));
for (const kind of Object.values(kinds)) await run(kind, 300);
for (let round = 0; round < rounds; round++)
	for (const name of round % 2 ? Object.keys(kinds).reverse() : Object.keys(kinds)) cost[name].push(await run(kinds[name], requests));
for (const [name, list] of Object.entries(cost)) console.log(`${name}: ${median(list).toFixed(0)} us of processor time a request`);
const goal = (key, value, limit, direction, text) => console.log(['goal', key, value.toFixed(2), limit, direction, text].join('\t'));
const ratio = (a, b) => median(cost[a].map((value, i) => value / cost[b][i]));
goal('guard-plain', ratio('guarded', 'plain'), 1.12, 'most', 'processor time with guard() against without db-pre-request');
goal('guard-empty', ratio('guarded', 'empty'), 1.06, 'most', 'the same against an empty function of C as db-pre-request');
goal('guard-jwt', ratio('guarded', 'jwt'), 1.05, 'most', 'the same against a JWT of the same role, which PostgREST 12.0 checks anew each time');
goal('guard-gate', ratio('guarded', 'gate'), 0.6, 'most', 'a guarded request against auth_request to /auth and an unguarded one');

// ---- SQL ----

const scripts = {
	with: `\\set id random(1, 1000000)\n\\startpipeline\nBEGIN;\nSELECT unleash_tokens.guard(:secret);\nSELECT * FROM notes.plain WHERE id = :id;\nCOMMIT;\n\\endpipeline\n`,
	without: '\\set id random(1, 1000000)\n\\startpipeline\nBEGIN;\nSELECT * FROM notes.plain WHERE id = :id;\nCOMMIT;\n\\endpipeline\n',
	alone: '\\set id random(1, 1000000)\nSELECT * FROM notes.plain WHERE id = :id;\n',
};
const spent = { with: [], without: [], alone: [] };
for (const name of Object.keys(scripts)) writeFileSync(`${BENCH_RUN}/${name}.sql`, scripts[name], { mode: 0o644 });
// Where the processors are the limit, as with 8 clients here, rates are the inverse of processor time, which other work disturbs less.
const children = () => readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && stat(pid)?.[1] === postmaster).length;
const ofServer = () => stat(postmaster).slice(11, 15).reduce((sum, n) => sum + Number(n), 0);
function pgbench(name) {
	const before = ofServer(), processes = children();
	const out = execFileSync('bash', ['-c', '"$@" >/dev/null; times', 'bash', BENCH_PGBENCH, '-n', '-M', 'prepared', '-c', '8', '-j', '1', '-t', String(requests), '-D', `secret=${NOTES_CLIENT}`,
		'-f', `${BENCH_RUN}/${name}.sql`, '-h', PGHOST, '-p', '5432', '-U', name === 'with' ? 'notes_authenticator' : 'postgres', PGDATABASE]).toString();
	const own = [...out.split('\n')[1].matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, m, s]) => sum + Number(m) * 60 + Number(s), 0);
	while (children() > processes); // then all of them are counted
	return ((ofServer() - before) * 10000 + own * 1e6) / (8 * requests);
}
for (let round = 0; round < rounds; round++)
	for (const name of round % 2 ? Object.keys(scripts).reverse() : Object.keys(scripts)) spent[name].push(pgbench(name));
for (const [name, list] of Object.entries(spent)) console.log(`SELECT by key, ${name}: ${median(list).toFixed(1)} us of processor time`);
goal('guard-sql', median(spent.with.map((value, i) => spent.without[i] / value)), 0.85, 'least', 'rate of BEGIN, guard(secret), SELECT by key, COMMIT against the same without guard(), in a pipeline, 8 clients, by processor time');

// both by the index, in turns, in one session; what a statement takes
const out = execFileSync(BENCH_PSQL, ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', PGHOST, '-p', '5432', '-U', 'postgres', '-d', PGDATABASE], { input: `
	SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "one", "projects": ["p7"]}') ->> 'secret' AS secret \\gset
	SET plan_cache_mode = force_generic_plan;
	BEGIN;
	SELECT unleash_tokens.guard(:'secret') IS NOT NULL AS guarded \\gset
	DO $$
	DECLARE
		start timestamptz; a float8[]; b float8[]; n int;
	BEGIN
		FOR i IN 1 .. 300 LOOP
			start := clock_timestamp();
			SELECT count(body) INTO n FROM notes.big;
			a := a || extract(epoch FROM clock_timestamp() - start)::float8;
			ASSERT n = 1000;
			start := clock_timestamp();
			SELECT count(body) INTO n FROM notes.plain WHERE project = 'p7';
			b := b || extract(epoch FROM clock_timestamp() - start)::float8;
			ASSERT n = 1000;
		END LOOP;
		PERFORM set_config('bench.a', (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM unnest(a) AS x)::text, true),
			set_config('bench.b', (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM unnest(b) AS x)::text, true);
	END $$;
	SELECT current_setting('bench.a'), current_setting('bench.b');
	ROLLBACK;
` }).toString().trim().split('|').map(Number);
console.log(`1,000 of 1,000,000 rows: ${(out[0] * 1000).toFixed(2)} ms by policy, ${(out[1] * 1000).toFixed(2)} ms by WHERE`);
goal('guard-policy', out[0] / out[1], 1.1, 'most', 'time of a SELECT of one project by policy against the same WHERE');
