#!/usr/bin/env node
// Arbitrary values through SQL: no backend goes down, what is refused stores nothing and is refused as documented, and no
// answer says a secret or anything of the insides.  20,000 cases, the same in every run.

import { assert, env, finish, test, useEnv, utf8 } from '../http/lib.mjs';
import { checkAnswer } from '../openapi/check.mjs';
import {
	anyBytes, anyContentType, anyEncoding, anyJson, anyMethod, anyPath, anySecret, anyText, assertLogsClean, atGateway, assertSaysNothing, assertServerSame, connect,
	disconnect, documentedStates, dropDatabase, fc, fingerprinter, know, makeDatabase, nearJson, one, serverState, tryAll,
} from './lib.mjs';

useEnv();
const DATABASE = 'attack_sql';
// what to try of each; ATTACK_CASES gives the sum another size
const share = (part) => Math.ceil(part * Number(process.env.ATTACK_CASES ?? 20000));

// What the server itself says of a parameter that is not of its type, before any function of ours runs.
const NOT_OF_TYPE = new Set([
	'22P02',	// invalid_text_representation: not JSON, not an array, not a number
	'22P05',	// untranslatable_character: \u0000 in JSON
	'22021',	// character_not_in_repertoire: bytes that are no text
	'22003',	// numeric_value_out_of_range: a number too large for JSON
	'22007', '22008', '22015',	// datetimes and intervals out of range
	'54001',	// statement_too_complex: nested too deeply
]);

know(env.ADMIN_TOKEN, false);
const client = await makeDatabase(DATABASE);
// as http/roles.sql does it for PostgREST: the server's own reader of JSON quotes what it was given
await client.query('SET log_error_verbosity = terse');
const before = await serverState(client);
const create = async (body) => know(JSON.parse(await one(client, 'SELECT unleash_tokens.create_api_token($1)::text', [body])).secret);
const ADMIN = await create({ type: 'admin', tokenName: 'admin' });
await create({ type: 'client', tokenName: 'client' });
await create({ type: 'frontend', tokenName: 'expired', expiresAt: '2001-01-01T00:00:00Z' });
await create({ type: 'backend', tokenName: 'one project', project: 'default' });
const fingerprint = await fingerprinter(client);
const known = await fingerprint();
let tried = 0, refused = 0, answered = 0;

// What was sent, in every form in which an answer could repeat it.
const asText = (values) => values.map((value) => {
	const text = Buffer.isBuffer(value) ? value.toString('utf8') : Array.isArray(value) ? value.join('\n') : String(value);
	let read = '';
	try {
		read = JSON.stringify(JSON.parse(text));
	} catch {
		// not JSON
	}
	return `${text}\n${read}\n${JSON.stringify(text)}`;
}).join('\n');

// ---- The SQL door ---------------------------------------------------------------------------------------------------

// One call in a transaction of its own, which is taken back when the call was answered.  A refusal must be as documented
// and leave the tables as they were.
async function call(statement, values) {
	const sent = asText(values);
	tried++;
	await client.query('BEGIN; SET LOCAL ROLE unleash_tokens_admin');
	try {
		const { rows } = await client.query({ text: statement, values, rowMode: 'array' });
		const text = JSON.stringify(rows);
		// the secret of a new token, and nothing else
		const secret = /create_api_token/.test(statement) ? rows[0][0]?.secret : undefined;
		assertSaysNothing(secret === undefined ? text : text.replace(secret, ''), sent, false);
		await client.query('ROLLBACK');
		answered++;
	} catch (error) {
		if (error.code === undefined || error.severity !== 'ERROR') throw error;
		await client.query('ROLLBACK');
		const said = [error.message, error.detail, error.hint].filter(Boolean).join('\n');
		const ours = documentedStates.has(error.code) && error.hint !== undefined;
		assert.ok(ours || NOT_OF_TYPE.has(error.code), `SQLSTATE ${error.code}: ${said}`);
		if (ours) assertSaysNothing(said, sent);
		refused++;
	}
	assert.equal(await fingerprint(), known, 'the tables are not as they were');
}

await test('create_api_token: arbitrary JSON and almost right JSON', async () => {
	await tryAll(share(0.25), nearJson, (json) => call('SELECT unleash_tokens.create_api_token($1::jsonb)', [json]));
	await tryAll(share(0.1), fc.oneof(anyJson, anyBytes), (json) => call('SELECT unleash_tokens.create_api_token($1::text::jsonb)', [json]));
	await assertServerSame(client, before);
});

// no secrets in these: the server's own readers quote what they cannot read, in the log too
const anyInterval = fc.oneof(fc.constantFrom('0', '90 days', '-1 day', '1 year', '178000000 years', '-178000000 years', '-9223372036854775808 us', '1e300 days', 'infinity', 'P1Y'), fc.string());
const anyStamp = fc.oneof(fc.constantFrom('now', 'infinity', '-infinity', 'epoch', '294276-12-31 23:59:59', '4713-01-01 BC', '2031-01-01T00:00:00Z', '0000-01-01', 'today allballs'), fc.string());
const anyOf = {
	text: fc.oneof(anyText, anyText, anyBytes),
	jsonb: fc.oneof(nearJson, anyJson),
	bytea: fc.oneof(anyBytes, nearJson.map((text) => utf8(text))),
	boolean: fc.oneof(fc.constantFrom('true', 'off', '2', ''), fc.string()),
	integer: fc.oneof(fc.constantFrom('0', '-1', '2147483648', 'NaN'), fc.string()),
	name: anyText,
	regclass: fc.oneof(fc.constantFrom('pg_class', 'unleash_tokens.api_token', '0', '4294967295', 'a.b.c.d'), anyText),
	interval: anyInterval,
	'timestamp with time zone': anyStamp,
	'text[]': fc.array(fc.oneof(anyText, anySecret), { maxLength: 8 }),
	'timestamp with time zone[]': fc.array(anyStamp, { maxLength: 8 }),
};

// guard_check() tells an operator of settings and files on purpose
await test('every function there is, with arbitrary values', async () => {
	const { rows } = await client.query(`SELECT p.proname AS name, array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) AS types
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'unleash_tokens' AND p.prorettype <> 'trigger'::regtype AND has_function_privilege('unleash_tokens_admin', p.oid, 'EXECUTE')
			AND p.proname NOT IN ('create_api_token', 'guard_check') AND p.pronargs > 0 ORDER BY 1, 2`);
	assert.ok(rows.length >= 9, `only ${rows.length} functions`);
	console.log(`figure: ${rows.length} functions: ${rows.map(({ name }) => name).join(', ')}`);
	for (const { name, types } of rows) {
		const arbitrary = fc.tuple(...types.map((type) => {
			assert.ok(anyOf[type], `no arbitrary values for the type ${type} of ${name}`);
			return fc.oneof({ weight: 9, arbitrary: anyOf[type] }, { weight: 1, arbitrary: fc.constant(null) });
		}));
		const statement = `SELECT * FROM unleash_tokens.${name}(${types.map((type, i) => `$${i + 1}::${type}`).join(', ')})`;
		await tryAll(Math.ceil(share(0.3) / rows.length), arbitrary, (values) => call(statement, values));
	}
	await assertServerSame(client, before);
});

// ---- The entries of the REST door -----------------------------------------------------------------------------------

// As PostgREST does it: settings local to the transaction, the call, what it set; a refusal is committed.
async function enter(entry, headers, body) {
	const sent = asText([headers, body ?? '']);
	tried++;
	await client.query(`BEGIN${entry === 'rest_api($1)' ? '' : ' READ ONLY'}; SET LOCAL ROLE unleash_tokens_rest`);
	await client.query(`SELECT set_config('request.headers', $1, true), set_config('request.path', '/rpc/rest_api', true), set_config('request.method', 'POST', true)`, [headers]);
	const { rows: [[bytes]] } = await client.query({ text: `SELECT unleash_tokens.${entry}`, values: body === undefined ? [] : [body], rowMode: 'array' });
	const { rows: [[status, list, left]] } = await client.query({
		text: `SELECT current_setting('response.status'), current_setting('response.headers'), current_setting('request.headers')`, rowMode: 'array' });
	await client.query(Number(status) >= 400 ? 'COMMIT' : 'ROLLBACK');
	assert.equal(await fingerprint(), known, 'the tables are not as they were');
	if (Number(status) >= 400) refused++;
	else answered++;
	return { ...atGateway(status, list), text: bytes.toString('utf8'), left, sent };
}

function check({ status, headers, text, left, sent }, method, target) {
	// what is not a header of HTTP at all would be nginx's to refuse
	checkAnswer(method, target, status, headers, method === 'HEAD' ? '' : text);
	const { secret } = status === 201 ? JSON.parse(text) : {};
	const shown = secret === undefined ? text : text.replace(secret, '');
	assertSaysNothing(shown, sent, status >= 400);
	assertSaysNothing(headers.flat().join('\n'), sent);
	assert.equal(JSON.parse(left).authorization, undefined, 'the key is still in request.headers');
}

const anyKey = fc.oneof({ weight: 6, arbitrary: fc.constant(ADMIN) }, { weight: 1, arbitrary: anySecret }, { weight: 1, arbitrary: anyText }, { weight: 1, arbitrary: fc.constant(undefined) });
const anyBody = fc.oneof({ weight: 5, arbitrary: nearJson.map((text) => utf8(text)) }, { weight: 2, arbitrary: anyJson.map((text) => utf8(text)) }, { weight: 1, arbitrary: anyBytes });
// a setting cannot hold what text cannot
const storable = (value) => typeof value !== 'string' ? value : value.replaceAll('\0', '').replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
const anyRequest = fc.record({ method: anyMethod, target: anyPath.filter((path) => !path.startsWith('/docs/')), key: anyKey, type: anyContentType, encoding: anyEncoding, body: anyBody }).map((request) =>
	Object.fromEntries(Object.entries({ ...request, method: request.method.toUpperCase() }).map(([name, value]) => [name, storable(value)])));
const headersOf = ({ method, target, key, type, encoding }) => JSON.stringify({ authorization: key, 'x-original-method': method, 'x-original-uri': target,
	'x-original-content-type': type, 'x-original-content-encoding': encoding });

await test('the entry that writes, called as PostgREST calls it', () =>
	tryAll(share(0.2), anyRequest, async (request) => check(await enter('rest_api($1)', headersOf(request), request.body), request.method, request.target)));
await test('the entries that read', async () => {
	await tryAll(share(0.05), anyRequest, async (request) => {
		const reads = { ...request, method: request.method === 'HEAD' ? 'HEAD' : 'GET' };
		check(await enter('rest_api()', headersOf(reads)), reads.method, reads.target);
	});
	await tryAll(share(0.05), anyRequest, async (request) => {
		const reads = { ...request, method: 'POST', target: `/edge/validate${request.body.length % 2 ? '' : '?x'}` };
		check(await enter('rest_read($1)', headersOf(reads), reads.body), 'POST', reads.target);
	});
});
await test('settings that are no headers: refused with 400, or what they leave out is missing', async () => {
	const odd = fc.oneof(anyJson.map(storable), fc.record({ authorization: fc.anything(), 'x-original-method': fc.anything(), 'x-original-uri': fc.anything() }, { requiredKeys: [] })
		.map((object) => storable(JSON.stringify(object, (_, value) => (typeof value === 'bigint' ? String(value) : value)))));
	await tryAll(share(0.05), fc.tuple(odd, anyBody), async ([headers, body]) => {
		const answer = await enter('rest_api($1)', headers, body);
		assert.ok([400, 401, 404].includes(answer.status), `${answer.status} ${answer.text}`);
		assertSaysNothing(answer.text, answer.sent);
	});
	await assertServerSame(client, before);
});

await test('no secret of these cases is in a log', async () => {
	assert.ok(assertLogsClean() > 0);
});

console.log(`figure: ${tried} cases through SQL: ${answered} answered, ${refused} refused; the same backend all the time`);
await disconnect();
await dropDatabase(DATABASE);
await disconnect();
finish();
