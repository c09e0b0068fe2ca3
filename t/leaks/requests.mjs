// Requests that carry secrets in every place, over nginx and over PostgREST's socket, answered and cut off; every secret
// of theirs is known to secrets.mjs.

import { rename } from 'node:fs/promises';
import path from 'node:path';

import {
	TOKENS, assertCreated, cancelWaiting, create, env, exchange, jsonKeyed, keyed, minimal, poll, requestBytes, rest, send, sql, waiting,
} from '../http/lib.mjs';
import { know, unknown } from './secrets.mjs';

export const JSON_TYPE = { 'Content-Type': 'application/json' };
export const jwt = () => ({ Authorization: `Bearer ${env.SQL_JWT}`, ...JSON_TYPE });
const latin1 = (text) => Buffer.from(text, 'latin1');

export const made = async (body) => know((await assertCreated(await create(body))).secret, 'a secret of a 201');
export const mistype = (secret) => know(secret.replace(/.{8}$/, (end) => [...end].reverse().join('')), 'a mistyped secret');

export async function sendSecretsEverywhere() {
	const admin = await made(minimal({ type: 'admin' })), client = await made(minimal());
	await sendAsKeys(admin, client);
	for (const secret of [client, unknown('in a path')]) await sendInTargets(secret);
	await sendBrokenRequests();
	await sendInHeaders();
	await sendInBodies(client);
	return client;
}

async function sendAsKeys(admin, client) {
	for (const key of [admin, `Bearer ${admin}`, client, `Bearer ${client}`, unknown('an unknown key'), `Bearer ${unknown('an unknown Bearer key')}`,
		`Basic ${unknown('a Basic key')}`, `${admin}${unknown('behind a key')}`, mistype(admin)]) {
		const answer = await create(minimal(), { Authorization: key, ...JSON_TYPE });
		if (answer.status === 201) know(answer.json.secret, 'a secret of a 201');
	}
}

// In the path and the query, in any spelling.
async function sendInTargets(secret) {
	for (const target of [`${TOKENS}/${secret}`, `${TOKENS}/${encodeURIComponent(secret)}`, `/api//admin/api-tokens/${secret}`, `/%61pi/admin/api-tokens/${secret}`,
		`${TOKENS}?token=${secret}`, `/${secret}`, `/health?${secret}`, `/edge/validate?${secret}`, `${TOKENS}/${secret}/%`, `/%zz${secret}`, `//${secret}`, `/-refuse?${secret}`])
		for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'OPTIONS', 'TRACE'])
			await send(method, target, keyed(), method === 'PUT' || method === 'POST' ? '{}' : undefined);
	await send('DELETE', `${TOKENS}/${unknown('in the path of a DELETE')}`, keyed());
}

async function sendBrokenRequests() {
	await exchange(`GET /${unknown('in a bad request line')} HTTP/9.9\r\nHost: x\r\n\r\n`, ['GET']);
	await exchange(`GET /${unknown('without a host')} HTTP/1.1\r\n\r\n`, ['GET']);
	await exchange(`${unknown('as a method')} / HTTP/1.1\r\nHost: x\r\n\r\n`, ['GET']);
	await send('GET', `/${unknown('in a long target')}${'x'.repeat(9000)}`);
	await exchange(requestBytes('GET', `http://${unknown('as a host')}/${unknown('in an absolute target')}`, { Host: 'x' }), ['GET']);
}

async function sendInHeaders() {
	await create(minimal(), jsonKeyed({ Cookie: unknown('in a cookie'), 'X-Api-Key': unknown('in X-Api-Key'), Referer: `http://x/${unknown('in Referer')}`, 'User-Agent': unknown('in User-Agent') }));
	await create(minimal(), keyed({ 'Content-Type': unknown('in Content-Type') }));
	await create(minimal(), [['Authorization', unknown('in the first of two keys')], ['Authorization', unknown('in the second of two keys')]]);
	await create(minimal(), { Authorization: latin1(`${unknown('before a bad byte')}\xff`), ...JSON_TYPE });
}

// Well formed or not.
async function sendInBodies(client) {
	for (const text of [`{"type":"client","tokenName":"${unknown('in cut JSON')}`, `{"type":"${unknown('as a type')}","tokenName":"x"}`,
		`{"type":"client","tokenName":"x","environment":"${unknown('as an environment')}"}`, `{"type":"client","tokenName":"x","projects":["${unknown('as a project')}"]}`,
		`{"type":"client","tokenName":"x","expiresAt":"${unknown('as an expiry')}"}`, `{"type":"client","tokenName":"x","secret":"${unknown('as a secret')}"}`,
		`"${unknown('as a string body')}"`, unknown('as a body'), `{"type":"client","tokenName":"x","x":"\\u0000${unknown('behind a NUL')}"}`,
		`{"type":"client","tokenName":"${unknown('before a NUL')}","x":"\\u0000"}`])
		await create(text);
	await create(`${unknown('in a body too large')}${'x'.repeat(102400)}`);
	await create(latin1(`{"tokenName":"${unknown('in a body of bad UTF-8')}\xff"}`));
	await send('POST', '/edge/validate', JSON_TYPE, JSON.stringify({ tokens: [client, unknown('at /edge/validate')] }));
}

export async function sendSecretsToPostgrest(client) {
	const answer = await rest('POST', '/rpc/create_api_token', jwt(), JSON.stringify(minimal()));
	know(answer.json.secret, 'a secret made by rpc');
	for (const secret of [client, unknown('to validate by rpc')]) {
		await rest('POST', '/rpc/validate_api_token', jwt(), JSON.stringify({ secret }));
		await rest('POST', '/rpc/validate_api_token', JSON_TYPE, JSON.stringify({ secret }));
	}
	await sendInRefusedBodies(client);
	await rest('POST', '/rpc/create_api_token', { Authorization: `Bearer ${unknown('as a JWT')}`, ...JSON_TYPE }, '{}');
	await rest('POST', '/rpc/create_api_token', { Authorization: `Bearer ${env.SQL_JWT.slice(0, -3)}`, ...JSON_TYPE }, '{}');
}

// In the URL, which PostgREST logs unless its log-level is that of http/postgrest.conf.
export async function sendInUrlsOfPostgrest(client) {
	for (const secret of [client, unknown('in a URL of PostgREST')])
		for (const target of ['/rpc/validate_api_token?secret=', '/rpc/none_such?secret=', '/api_tokens?token_name=eq.'])
			await rest('GET', `${target}${encodeURIComponent(secret)}`, jwt());
}

// A refusal's DETAIL shows what was sent, and is logged: what looks like a secret is masked in it.
async function sendInRefusedBodies(client) {
	for (const sent of [client, mistype(client)])
		for (const field of ['type', 'environment', 'project', 'expiresAt'])
			await rest('POST', '/rpc/create_api_token', jwt(), JSON.stringify(minimal({ [field]: sent })));
	for (const text of [`{"type":"client","tokenName":"${unknown('in cut JSON by rpc')}`, `{"type":"client","tokenName":"x","x":"\\u0000${unknown('behind a NUL by rpc')}"}`,
		`{"type":"client","tokenName":"${unknown('before a NUL by rpc')}","x":"\\u0000"}`])
		await rest('POST', '/rpc/create_api_token', jwt(), text);
}

// A statement that fails is logged with its parameters, unless the role says no.
export async function failInTheMiddle() {
	await sql('BEGIN');
	try {
		await sql('LOCK TABLE unleash_tokens.api_token');
		const key = unknown('in a cancelled request');
		const asked = [create(minimal({ x: unknown('in a cancelled body') })), rest('POST', '/rpc/validate_api_token', jwt(), JSON.stringify({ secret: env.ADMIN_TOKEN })),
			send('GET', `${TOKENS}/${key}`, keyed())];
		await poll('requests wait', 10000, async () => (await waiting()) >= 2);
		await poll('requests were cancelled', 10000, async () => {
			await cancelWaiting();
			return (await waiting()) === 0;
		});
		await Promise.all(asked);
	} finally {
		await sql('ROLLBACK');
	}
}

async function away(file, during) {
	await rename(file, `${file}.away`);
	try {
		await during();
	} finally {
		await rename(`${file}.away`, file);
	}
}

// nginx quotes the request line of what it could not pass on, PostgREST the URL of what it could not answer: the canary.
export async function failBehindTheGateway(canary) {
	const secret = unknown('in a path without a server');
	await away(env.PGRST_SOCKET, () => Promise.all(Array.from({ length: 100 }, (_, i) =>
		send(i % 2 ? 'PUT' : 'GET', `${TOKENS}/${secret}`, keyed(), i % 2 ? '{}' : undefined))));
	await away(path.join(env.PGHOST, `.s.PGSQL.${env.PGPORT}`), async () => {
		await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator'`);
		await poll('the database is missed', 15000, async () => (await send('GET', '/health')).status === 503);
		for (let i = 0; i < 3; i++) await send('PUT', `${TOKENS}/${secret}`, keyed(), '{}');
		await create();
		await rest('GET', `/rpc/validate_api_token?secret=${canary}`, jwt());
	});
	await worksAgain();
}

// To somebody's own API behind guard(): through its nginx, and to its PostgREST.  A key that gets in, one that does not, and both.
export async function sendToTheNotes() {
	const tokens = [env.NOTES_FRONTEND, env.NOTES_CLIENT, env.NOTES_ADMIN].map((secret) => know(secret, 'a token of the notes'));
	let taken = 0, refused = 0;
	const ask = async (...request) => {
		for (const at of [env.NOTES_URL, env.NOTES_SOCKET]) (await send(...request, at)).status < 300 ? taken++ : refused++;
	};
	for (const secret of tokens.flatMap((token) => [token, mistype(token), `${token}${unknown('behind a token of the notes')}`, unknown('a key for the notes')])) {
		const other = unknown('the second key of a request to the notes');
		for (const headers of [{ apikey: secret }, { Authorization: secret }, { Authorization: `Bearer ${secret}` }, { 'X-Api-Key': secret }, { apikey: secret, 'X-Api-Key': other },
			{ apikey: secret, Authorization: other }, { apikey: secret, ...jwt() }, { apikey: secret, Cookie: `key=${other}`, 'X-Other': 'x' }]) {
			for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE']) await ask(method, '/note?id=eq.0', headers, undefined);
			await ask('GET', '/nothing', headers, undefined);
			await ask('GET', '/', headers, undefined);
			await ask('POST', '/rpc/nothing', { ...headers, ...JSON_TYPE }, '{}');
		}
		for (const body of ['{"project":"garden","environment":"development","body":"x"}', '{"project":"none","environment":"development","body":"x"}', '{"body":', '[]', '{"nothing":1}'])
			for (const method of ['POST', 'PATCH']) await ask(method, '/note', { apikey: secret, Prefer: 'return=representation, tx=rollback', ...JSON_TYPE }, body);
	}
	return { taken, refused };
}

export const worksAgain = () => poll('it works again', 60000, async () => (await create()).status === 201);

// New connections take the settings of their role.
export async function reconnect() {
	await sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'unleash_tokens_authenticator'`);
	await worksAgain();
}
