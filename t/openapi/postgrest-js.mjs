// The SQL door through PostgREST, with the client of Supabase: filter, order and page the views, call the functions.
//
//     node t/openapi/postgrest-js.mjs .serve/env
//
// The client speaks TCP and PostgREST listens on a unix socket: a forwarder of this process stands between them.

import assert from 'node:assert/strict';
import net from 'node:net';
import { PostgrestClient } from '@supabase/postgrest-js';
import { finish, readEnv, sql, test } from './lib.mjs';

const env = readEnv(process.argv[2]);
const run = `pgjs ${Date.now().toString(36)}`;

const forwarder = net.createServer((client) => {
	const server = net.connect(env.PGRST_SOCKET);
	for (const [one, other] of [[client, server], [server, client]]) {
		one.pipe(other);
		one.on('error', () => other.destroy()).on('close', () => other.destroy());
	}
});
await new Promise((resolve, reject) => forwarder.on('error', reject).listen(0, '127.0.0.1', resolve));

const client = (headers) => new PostgrestClient(`http://127.0.0.1:${forwarder.address().port}`, { headers, schema: 'unleash_tokens' });
const api = client({ Authorization: `Bearer ${env.SQL_JWT}` });
const anonymous = client({});

// The data of an answer that must be a good one.
async function good(asked, status = 200) {
	const answer = await asked;
	assert.equal(answer.error, null, JSON.stringify(answer.error));
	assert.equal(answer.status, status);
	return answer.data;
}

async function bad(asked, status, code) {
	const answer = await asked;
	assert.equal(answer.status, status, JSON.stringify(answer));
	assert.equal(answer.error?.code, code, JSON.stringify(answer.error));
	return answer.error;
}

const create = (body) => good(api.rpc('create_api_token', { tokenName: run, ...body }), 201);
const selectorOf = (secret) => secret.split('_').at(-2);
const own = () => api.from('api_tokens').select('*').like('token_name', `${run}%`);

const made = [];

try {
	await test('create_api_token makes a token', async () => {
		for (let i = 0; i < 10; i++) {
			made.push(await create({ type: ['client', 'frontend'][i % 2], tokenName: `${run} ${String(i).padStart(2, '0')}`,
				projects: i < 5 ? ['default'] : undefined, expiresAt: i % 5 === 0 ? '2031-01-01T00:00:00Z' : undefined }));
		}
		assert.match(made[0].secret, /^default:development\.v2_utok/);
	});
	await test('the view has its columns, and none that could hold a secret', async () => {
		const [row] = await good(own().limit(1));
		assert.deepEqual(Object.keys(row).sort(), ['activate_by', 'alias', 'all_projects', 'allowed_ips', 'by_verifier', 'created_at', 'created_by',
			'environment', 'expires_at', 'old_until', 'projects', 'rate_burst', 'rate_limit', 'rate_period',
			'rotatable', 'rotation', 'seen_at', 'selector', 'token_name', 'type']);
		assert.equal(row.created_by, 'unleash_tokens_admin');
	});
	await test('it filters by type, project, expiry and name', async () => {
		const names = async (asked) => (await good(asked.order('token_name'))).map(({ token_name }) => Number(token_name.slice(-2)));
		assert.deepEqual(await names(own().eq('type', 'frontend')), [1, 3, 5, 7, 9]);
		assert.deepEqual(await names(own().contains('projects', ['default'])), [0, 1, 2, 3, 4]);
		assert.deepEqual(await names(own().contains('projects', ['*']).eq('type', 'client')), [6, 8]);
		assert.deepEqual(await names(own().not('expires_at', 'is', null)), [0, 5]);
		assert.deepEqual(await names(own().lt('expires_at', '2031-01-02T00:00:00Z').gt('created_at', '2020-01-01')), [0, 5]);
		assert.deepEqual(await names(api.from('api_tokens').select('token_name').eq('token_name', `${run} 03`)), [3]);
		assert.deepEqual(await names(own().in('selector', [made[2], made[7]].map(({ secret }) => selectorOf(secret)))), [2, 7]);
	});
	await test('it orders and pages, and counts', async () => {
		const pages = [];
		for (let from = 0; from < 10; from += 4) {
			const { data, count, error } = await api.from('api_tokens').select('token_name', { count: 'exact' }).like('token_name', `${run}%`)
				.order('created_at', { ascending: false }).order('selector').range(from, from + 3);
			assert.equal(error, null);
			assert.equal(count, 10);
			pages.push(data.map(({ token_name }) => Number(token_name.slice(-2))));
		}
		assert.deepEqual(pages, [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]);
	});
	await test('the example of the README works', async () => {
		const data = await good(api.from('api_tokens').select('selector,token_name,expires_at').eq('type', 'client').order('created_at').range(0, 49));
		assert.ok(data.length >= 5 && data.every((row) => Object.keys(row).length === 3));
	});
	await test('events are there, with their author and without a secret', async () => {
		const selector = selectorOf(made[0].secret);
		const [event] = await good(api.from('api_token_events').select('*').eq('selector', selector));
		assert.equal(event.type, 'api-token-created');
		assert.equal(event.actor, 'unleash_tokens_admin');
		assert.equal(event.data.tokenName, made[0].tokenName);
		assert.ok(!JSON.stringify(event).includes(made[0].secret.slice(-43)));
	});
	await test('validate_api_token and validate_api_tokens tell the valid ones', async () => {
		const one = await good(api.rpc('validate_api_token', { secret: made[1].secret }));
		assert.deepEqual([one.selector, one.type, one.projects], [selectorOf(made[1].secret), 'frontend', ['default']]);
		assert.equal(await good(api.rpc('validate_api_token', { secret: `${made[1].secret}x` })), null);
		const rows = await good(api.rpc('validate_api_tokens', { secrets: ['none', made[6].secret, made[1].secret] }));
		assert.deepEqual(rows.map(({ ordinal, type, projects }) => [ordinal, type, projects]), [[2, 'client', ['*']], [3, 'frontend', ['default']]]);
	});
	await test('get_all_api_tokens and get_api_tokens_by_name list', async () => {
		const all = await good(api.rpc('get_all_api_tokens'));
		assert.equal(all.tokens.filter(({ tokenName }) => tokenName.startsWith(run)).length, 10);
		const { tokens } = await good(api.rpc('get_api_tokens_by_name', { name: `${run} 04` }));
		assert.deepEqual(tokens.map(({ secret }) => secret), [selectorOf(made[4].secret)]);
	});
	await test('update_api_token and delete_api_token change', async () => {
		const token = selectorOf(made[8].secret);
		const changed = await good(api.rpc('update_api_token', { token, changes: { expiresAt: '2020-01-01T00:00:00Z' } }));
		assert.equal(changed.expiresAt, '2020-01-01T00:00:00.000Z');
		assert.equal(await good(api.rpc('validate_api_token', { secret: made[8].secret })), null);
		assert.equal(await good(api.rpc('update_api_token', { token: 'none', changes: { expiresAt: null } })), null);
		assert.equal(await good(api.rpc('delete_api_token', { token })), true);
		assert.equal(await good(api.rpc('delete_api_token', { token })), false);
	});
	await test('import_api_tokens imports what a list holds', async () => {
		const secret = `*:development.${run.replace(' ', '')}${'0'.repeat(40)}`;
		const tokens = [{ secret, tokenName: `${run} imported`, type: 'client', environment: 'development', projects: ['*'] }];
		assert.equal((await good(api.rpc('import_api_tokens', { tokens }))).imported, 1);
		assert.equal((await good(api.rpc('import_api_tokens', { tokens }))).unchanged, 1);
		assert.equal((await good(api.rpc('validate_api_token', { secret }))).tokenName, `${run} imported`);
	});
	await test('purge_expired and purge_events count what went', async () => {
		await create({ type: 'client', tokenName: `${run} old`, expiresAt: '1990-01-01T00:00:00Z' });
		assert.ok((await good(api.rpc('purge_expired', { older_than: '30 years' }))) >= 1);
		assert.deepEqual(await good(own().eq('token_name', `${run} old`)), []);
		assert.equal(await good(api.rpc('purge_events', { older_than: '100 years' })), 0);
	});
	await test('list_refusals lists them', async () => {
		const rows = await good(api.rpc('list_refusals'));
		assert.ok(rows.some(({ name, status, sqlstate }) => name === 'ExceedsLimitError' && status === 400 && sqlstate === 'P0001'));
	});
	await test('a refusal has its code, details and a hint', async () => {
		const { message, details, hint } = await bad(api.rpc('create_api_token', { type: 'robot', tokenName: run }), 400, '22023');
		assert.match(message, /unknown token type/);
		assert.match(details, /"robot"/);
		assert.match(hint, /client, backend/);
	});
	await test('the tables are not reached, and the views are not written', async () => {
		for (const table of ['api_token', 'api_token_project', 'api_token_event', 'project', 'environment'])
			await bad(api.from(table).select('*').limit(1), 403, '42501');
		await bad(api.from('api_tokens').delete().eq('token_name', run), 403, '42501');
		await bad(api.from('api_tokens').update({ token_name: 'x' }).eq('token_name', run), 403, '42501');
		await bad(api.rpc('rest_api'), 403, '42501');
	});
	await test('without the JWT nothing of it is reached', async () => {
		await bad(anonymous.from('api_tokens').select('selector').limit(1), 401, '42501');
		await bad(anonymous.from('api_token_events').select('id').limit(1), 401, '42501');
		await bad(anonymous.rpc('get_all_api_tokens'), 401, '42501');
		await bad(anonymous.rpc('create_api_token', { type: 'client', tokenName: run }), 401, '42501');
	});
} finally {
	sql(env, `DELETE FROM unleash_tokens.api_token WHERE token_name LIKE '${run}%'`);
	forwarder.close();
}
finish();
