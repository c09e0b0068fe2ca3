#!/usr/bin/env node
// The tasks "Expire", "Rotate", "Delegate" and "Limit" of README, command by command as they stand there.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { assert, assertCreated, create, env, finish, minimal, poll, root, run, send, sql, test, useEnv, validate } from './lib.mjs';

useEnv();
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');

// The indented lines of a task, those of one block as one text.
function blocks(task) {
	const text = readme.match(new RegExp(`^\\*\\*${task}\\.\\*\\*[^]*?(?=^\\*\\*[A-Z][^*]*\\*\\*|^## )`, 'm'))[0];
	return text.split('\n\n').filter((block) => block.startsWith('    ')).map((block) => block.replace(/^ {4}/gm, ''));
}
const literal = (text) => `'${text.replaceAll("'", "''")}'`;
const query = (text, token) => sql(text.replace(/--.*$/gm, '').replaceAll('$1', literal(token ?? '')));
// What a person types: curl with the base, the key and the token put in.
function curl(text, token, key = env.ADMIN_TOKEN) {
	assert.match(text, /^curl /);
	const command = text.replaceAll('<apiKey>', key).replaceAll('{token}', token);
	const out = execFileSync('bash', ['-c', command.replace(/^curl/, `curl -sS --noproxy '*' -w '\\n%{http_code}'`)], { env: { ...process.env, BASE_URL: env.BASE_URL }, encoding: 'utf8' });
	const at = out.lastIndexOf('\n');
	return { status: Number(out.slice(at + 1)), json: out.slice(0, at) === '' ? undefined : JSON.parse(out.slice(0, at)) };
}
const made = async (more) => assertCreated(await create(minimal({ tokenName: `${run} readme`, ...more })));

await test('Expire', async () => {
	const [bound, enforce, heard, view] = blocks('Expire');
	await made();
	await sql('CREATE TEMP TABLE for_ever AS SELECT selector FROM unleash_tokens.api_token WHERE expires_at IS NULL');
	try {
		await query(bound);
		await poll('the bound counts', 10000, async () => (await sql('SHOW unleash_tokens.max_lifetime')) === '90d');
		const [list, change] = enforce.split('\n');
		assert.match(await query(list), new RegExp(`${run} readme`));
		assert.ok(Number(await query(change)) > 0);
		assert.equal(await query(list), '');
		const later = await create(minimal({ expiresAt: '2999-01-01T00:00:00Z' }));
		assert.equal(later.status, 400);
		const bounded = await made();
		assert.ok(new Date(bounded.expiresAt) - Date.now() < 91 * 86400000);
		await query(`SELECT unleash_tokens.update_api_token($1, jsonb_build_object('expiresAt', now() + interval '5 days'))`, bounded.selector);
		await query(heard.split('\n')[0]);
		assert.match(await query(view), new RegExp(`${run} readme\\|5\\|`));
	} finally {
		await sql(`ALTER SYSTEM RESET unleash_tokens.max_lifetime; SELECT pg_reload_conf(); UNLISTEN *`);
		await poll('it is gone', 10000, async () => (await sql('SHOW unleash_tokens.max_lifetime')) === '0');
		await sql('UPDATE unleash_tokens.api_token SET expires_at = NULL WHERE selector IN (SELECT selector FROM for_ever)');
	}
});

await test('Rotate', async () => {
	const [byCurl, bySql, ends] = blocks('Rotate');
	const [finishes, cancels] = ends.split('\n');
	const token = await made();
	const answer = curl(byCurl, token.selector);
	assert.equal(answer.status, 200);
	assert.equal(answer.json.rotation.state, 'pending');
	const second = await query(bySql, token.selector);
	assert.notEqual(await validate(token.secret), null);
	await assert.rejects(query(finishes, token.selector));
	assert.notEqual(await query(cancels, token.selector), '');
	assert.equal(await validate(second), null);
	const third = await query(bySql, token.selector);
	assert.notEqual(await validate(third), null);
	assert.notEqual(await validate(token.secret), null, 'the grace');
	await query(finishes, token.selector);
	assert.equal(await validate(token.secret), null);
	assert.notEqual(await validate(third), null);
});

await test('Delegate', async () => {
	const [makes] = blocks('Delegate');
	const answer = curl(makes);
	assert.equal(answer.status, 201);
	const key = { Authorization: answer.json.secret, 'Content-Type': 'application/json' };
	const below = await send('POST', '/api/admin/projects/default/api-tokens', key, JSON.stringify({ type: 'client', tokenName: `${run} team` }));
	assert.equal(below.status, 201);
	const listed = (await send('GET', '/api/admin/api-tokens', key)).json.tokens;
	assert.ok(listed.length >= 2 && listed.every((token) => token.projects.join() === 'default'));
	assert.equal((await send('POST', '/api/admin/api-tokens', key, JSON.stringify({ type: 'client', tokenName: 'x' }))).status, 403);
});

await test('Limit', async () => {
	const [limits] = blocks('Limit');
	const token = await made();
	assert.equal(curl(limits, token.selector).status, 200);
	const shown = (await send('GET', `/api/admin/api-tokens/${token.selector}`, { Authorization: env.ADMIN_TOKEN })).json.tokens[0];
	assert.deepEqual([shown.rateLimit, shown.allowedIps], [{ limit: 600, period: 60, burst: 50 }, ['10.0.0.0/8', '2001:db8::/32']]);
	assert.equal((await send('GET', '/auth', { Authorization: token.secret })).status, 401, 'from here it is not there');
	const setting = readme.match(/`(ALTER SYSTEM SET unleash_tokens\.rate_limit_frontend = [^`]*)`/)[1];
	try {
		await query(`${setting}; SELECT pg_reload_conf()`);
		const frontend = await made({ type: 'frontend' });
		await poll('the setting counts', 10000, async () => /"frontend";q=600;w=60;unleash-burst=50/.test((await send('GET', '/auth', { Authorization: frontend.secret })).header('RateLimit-Policy') ?? ''));
	} finally {
		await sql('ALTER SYSTEM RESET unleash_tokens.rate_limit_frontend; SELECT pg_reload_conf()');
	}
});

finish();
