#!/usr/bin/env node
// GET /metrics: what it says, and what a real Prometheus makes of it and of the example alerts and dashboard; t/http/metrics.mjs asks
// who may.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { assert, assertStatus, create, env, finish, keyed, minimal, poll, root, run, send, setSystem, sql, test, useEnv } from '../http/lib.mjs';

useEnv();
const file = (name) => readFileSync(path.join(root, name), 'utf8');
const make = async (more) => (await create(minimal({ tokenName: `${run} metrics`, ...more }))).json.secret;
const scrape = () => send('GET', '/metrics', keyed());
// name{labels} -> value
const read = (text) => Object.fromEntries([...text.matchAll(/^unleash_tokens_(\S+) (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]));

// ---- What it says ---------------------------------------------------------------------------------------------------

await test('promtool finds nothing to say against it', async () => {
	await poll('counted', 30000, async () => 'doctor_checks{status="ok"}' in read((await scrape()).text));
	const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: (await scrape()).text, encoding: 'utf8' });
	assert.deepEqual([status, stdout, stderr], [0, '', '']);
});

await test('every metric is in doc/monitoring.md, and every metric there is one', async () => {
	const restore = await setSystem('unleash_tokens.flush_interval', 1, '1s');
	try {
		await poll('flushed', 20000, async () => 'last_flush_timestamp_seconds' in read((await scrape()).text));
	} finally {
		await restore();
	}
	const named = (text, pattern) => [...new Set([...text.matchAll(pattern)].map((match) => match[1]))].sort();
	// an error there may be none of
	const known = named(file('doc/monitoring.md'), /`unleash_tokens_(\w+)[{`]/g).filter((name) => !['monitor', 'last_error_timestamp_seconds'].includes(name));
	assert.deepEqual(named((await scrape()).text, /^# TYPE unleash_tokens_(\w+) /gm).filter((name) => name !== 'last_error_timestamp_seconds'), known);
});

await test('what was counted is so, and what happens counts', async () => {
	const before = read((await scrape()).text);
	const secret = await make({ expiresAt: new Date(Date.now() + 3600000).toISOString() });
	assertStatus(await send('GET', '/auth', { Authorization: secret }), 204);
	assertStatus(await send('GET', '/auth', { Authorization: `*:*.v2_${'A'.repeat(22)}_${'B'.repeat(43)}` }), 401);
	const after = read((await scrape()).text), sum = (found) => Object.keys(found).filter((name) => name.startsWith('refusals')).reduce((all, name) => all + found[name], 0);
	assert.equal(sum(after) - sum(before), 1);
	assert.equal(after.validations_total - before.validations_total, 3);	// create, /auth and the scrape
	await poll('counted anew', 30000, async () => read((await scrape()).text)['tokens_expiring{days="1"}'] > before['tokens_expiring{days="1"}']);
});

await test('a role of unleash_tokens_monitor reads this and what stands beside it, and nothing else', async () => {
	const as = (statement) => sql(`SET ROLE unleash_tokens_monitor; ${statement}; RESET ROLE`);
	try {
		assert.match(await as('SELECT unleash_tokens.metrics()'), /unleash_tokens_preloaded 1/);
		assert.equal(await as(`SELECT count(*) > 30 FROM unleash_tokens.doctor()`), 't');
		assert.match(await as('SELECT validations FROM unleash_tokens.stat'), /^\d+$/);
		assert.equal(await sql(`SELECT string_agg(what, ' ' ORDER BY what) FROM (
			SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'unleash_tokens'::regnamespace AND has_function_privilege('unleash_tokens_monitor', p.oid, 'EXECUTE')
				AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
			UNION ALL SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'unleash_tokens'::regnamespace AND c.relkind IN ('r', 'v')
				AND has_any_column_privilege('unleash_tokens_monitor', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')) AS s (what)`), 'doctor get_stat metrics stat');
	} finally {
		await sql('RESET ROLE');
	}
});

await test('it opens no table, whatever there is in it', async () => {
	await sql(`BEGIN; SELECT length(unleash_tokens.metrics())`);
	const locks = await sql(`SELECT string_agg(relation::regclass::text, ' ') FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace)`);
	await sql('ROLLBACK');
	assert.equal(locks, '');
	const [, ms] = (await sql(`EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) SELECT unleash_tokens.metrics() FROM generate_series(1, 1000)`)).match(/Execution Time: ([\d.]+)/);
	console.log(`figure: metrics() takes ${(ms / 1000).toFixed(3)} ms`);
});

// ---- A real Prometheus ----------------------------------------------------------------------------------------------

const port = await new Promise((resolve) => {
	const server = net.createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
});
const dir = mkdtempSync(path.join(process.env.SUITE_DIR ?? '/tmp', 'prometheus.'));
writeFileSync(path.join(dir, 'token'), env.ADMIN_TOKEN, { mode: 0o600 });
// as doc/monitoring.md says it, but for places and how often
const config = file('doc/monitoring.md').match(/```yaml\n([\s\S]*?)```/)[1].replace('prometheus-alerts.yml', path.join(root, 'http/prometheus-alerts.yml'))
	.replace('15s', '1s').replace('/etc/prometheus/unleash_tokens.token', path.join(dir, 'token')).replace('127.0.0.1:8080', new URL(env.BASE_URL).host);
writeFileSync(path.join(dir, 'prometheus.yml'), `global: {evaluation_interval: 1s}\n${config}`);
mkdirSync(path.join(dir, 'data'));
const prometheus = spawn('prometheus', [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'], { stdio: ['ignore', 'inherit', 'inherit'] });
const api = async (target) => (await (await fetch(`http://127.0.0.1:${port}/api/v1/${target}`)).json()).data;
const query = async (expr) => {
	const answer = await (await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expr)}`)).json();
	assert.equal(answer.status, 'success', `${expr}: ${answer.error}`);
	return answer.data.result;
};

try {
	await test('Prometheus scrapes it, as doc/monitoring.md says', async () => {
		await poll('a scrape', 30000, async () => (await query('up{job="unleash_tokens"} == 1')).length === 1);
		const { activeTargets } = await api('targets');
		assert.deepEqual(activeTargets.map(({ health, lastError }) => [health, lastError]), [['up', '']]);
		assert.equal(Number((await query('unleash_tokens_preloaded'))[0].value[1]), 1);
		await poll('two of them', 20000, async () => (await query('rate(unleash_tokens_validations_total[1m])')).length === 1);
		assert.ok(Number((await query('sum(unleash_tokens_tokens)'))[0].value[1]) > 0);
	});

	await test('it takes the alerts, and none of them fires that should not', async () => {
		const rules = await poll('all were looked at', 20000, async () => {
			const { groups: [group] } = await api('rules');
			return group.rules.every(({ health }) => health === 'ok') && group.rules;
		});
		assert.equal(rules.length, (file('http/prometheus-alerts.yml').match(/- alert:/g)).length);
		assert.deepEqual(rules.filter(({ state }) => state === 'firing').map(({ name }) => name).filter((name) => name !== 'UnleashTokensExpireSoon'), []);
	});

	await test('every question of the dashboard has an answer', async () => {
		const dashboard = JSON.parse(file('http/grafana-dashboard.json'));
		const questions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*')));
		assert.ok(questions.length > 15);
		for (const expr of questions) assert.ok((await query(expr)).length > 0, `${expr} has no answer`);
		const ids = dashboard.panels.map(({ id }) => id);
		assert.equal(new Set(ids).size, ids.length);
	});
} finally {
	prometheus.kill('SIGTERM');
	await new Promise((resolve) => (prometheus.exitCode === null && prometheus.signalCode === null ? prometheus.once('exit', resolve) : resolve()));
	rmSync(dir, { recursive: true });
}

finish();
