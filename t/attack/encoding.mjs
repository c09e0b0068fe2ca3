#!/usr/bin/env node
// Databases in LATIN1, SQL_ASCII and EUC_JP: names outside ASCII, escapes of JSON, bytes that are no text, through both doors.
// What is refused is refused as documented and stores nothing; what is stored is answered in UTF-8 as it was sent.

import { TOKENS, assert, env, finish, test, useEnv, utf8 } from '../http/lib.mjs';
import { checkAnswer } from '../openapi/check.mjs';
import {
	anyBytes, assertSaysNothing, assertServerSame, atGateway, attackNames, connect, disconnect, documentedStates, dropDatabase, fc, fingerprinter, know, makeDatabase, one, serverState, tryAll,
} from './lib.mjs';

useEnv();
know(env.ADMIN_TOKEN, false);

// How a text looks in a database of that encoding, or undefined when it has no place there.
const LATIN1 = (text) => /^[\u0000-\u00ff]*$/.test(text);
const places = {
	latin1: ['LATIN1', LATIN1],
	sql_ascii: ['SQL_ASCII', () => true],
	euc_jp: ['EUC_JP', undefined],	// as the server's own conversion says
};
const NAMES = [...new Set(['\u00e9', 'stra\u00dfe', '\u00ff', '\u00a0', '\u6771\u4eac', '\u30c6\u30b9\u30c8', '\uff71', '\u2665', '\u{1f600}', 'a\u0301', '\u20ac', '\u0416', '\u2225', '\uff0d', '\u00a5', '\u203e', '\u2014', '\u4e28', '\u2116', ...attackNames.filter((name) => /[^\x00-\x7f]/.test(name) && name.length <= 500)])];
const isGood = (name) => [...name].length >= 1 && [...name].length <= 1000 && !/[\u0000-\u001f\u007f-\u009f]/.test(name);

for (const [word, [encoding, fits]] of Object.entries(places)) {
	const DATABASE = `attack_${word}`;
	const client = await makeDatabase(DATABASE, encoding);
	await client.query('SET log_error_verbosity = terse');
	const before = await serverState(client);
	const fingerprint = await fingerprinter(client);
	const ADMIN = know(JSON.parse(await one(client, 'SELECT unleash_tokens.create_api_token($1)::text', [{ type: 'admin', tokenName: 'admin' }])).secret);
	// as PostgREST: it speaks UTF-8 whatever the database is in
	await client.query(`SET client_encoding = 'UTF8'`);
	const hasPlace = async (name) => (fits ? fits(name) : (await client.query('SELECT $1::text', [name]).then(() => true, () => false)));
	const counts = { stored: 0, refused: 0, tried: 0 };

	// The entry of the REST door, as PostgREST calls it; what it raises fails the test.
	async function enter(body, headers = {}) {
		await client.query('BEGIN; SET LOCAL ROLE unleash_tokens_rest');
		await client.query(`SELECT set_config('request.headers', $1, true)`, [JSON.stringify({ authorization: ADMIN, 'x-original-method': 'POST', 'x-original-uri': TOKENS, 'x-original-content-type': 'application/json', ...headers })]);
		const answer = await client.query({ text: 'SELECT unleash_tokens.rest_api($1)', values: [body], rowMode: 'array' }).catch(async (error) => {
			await client.query('ROLLBACK');
			assert.fail(`the entry raised ${error.code} ${error.message} for ${JSON.stringify(body.toString('latin1'))}`);
		});
		const text = answer.rows[0][0].toString('utf8');
		const [status, list] = (await client.query({ text: `SELECT current_setting('response.status'), current_setting('response.headers')`, rowMode: 'array' })).rows[0];
		await client.query('COMMIT');
		counts.tried++;
		assert.ok(Buffer.from(text).equals(answer.rows[0][0]), `the answer is not UTF-8: ${answer.rows[0][0].toString('latin1')}`);
		const shown = atGateway(status, list);
		checkAnswer(headers['x-original-method'] ?? 'POST', headers['x-original-uri'] ?? TOKENS, shown.status, shown.headers, text);
		return { status: Number(status), text, json: text && JSON.parse(text) };
	}

	async function refused(body, says, headers) {
		const known = await fingerprint();
		const answer = await enter(body, headers);
		assert.equal(answer.status, 400, answer.text);
		assertSaysNothing(answer.text, body.toString());
		assert.match(answer.text, says);
		assert.equal(await fingerprint(), known, 'a refusal stored something');
		counts.refused++;
	}

	async function stored(answer, name) {
		assert.equal(answer.status, 201, answer.text);
		assert.equal(answer.json.tokenName, name);
		know(answer.json.secret);
		const bytes = await one(client, `SELECT encode(CASE WHEN getdatabaseencoding() = 'SQL_ASCII' THEN convert_to(token_name, 'SQL_ASCII') ELSE convert_to(token_name, 'UTF8') END, 'hex')
			FROM unleash_tokens.api_token WHERE selector = $1`, [answer.json.secret.slice(-66, -44)]);
		assert.equal(bytes, utf8(name).toString('hex'), 'what is stored is something else');
		counts.stored++;
	}

	const NO_CHARACTER = /cannot be stored|no form in UTF-8/;

	await test(`${encoding}: ${NAMES.length} names outside ASCII, as bytes of UTF-8 and as escapes of JSON`, async () => {
		for (const name of NAMES) {
			const place = await hasPlace(name);
			for (const escapes of [false, true]) {
				const json = JSON.stringify({ type: 'client', tokenName: name });
				const body = utf8(escapes ? json.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) : json);
				try {
					// the server cannot turn escapes into bytes of an encoding it does not know
					if (!isGood(name) && place && !(escapes && word === 'sql_ascii')) await refused(body, /control character|length|cannot be stored|tokenName/);
					else if (!place || (escapes && word === 'sql_ascii')) await refused(body, NO_CHARACTER);
					else await stored(await enter(body), name);
				} catch (error) {
					assert.fail(`${JSON.stringify(name)}${escapes ? ' as escapes' : ''}: ${error.message}`);
				}
			}
		}
	});

	const HEADS = ['\xe9', '\xff', '\xc0\xaf', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\xe2\x82', '\x80', '\xa2\xaf', '\x8e\x41', '\x8f\xa1', '\xfe\xfe', '\xc3\x28'];
	await test(`${encoding}: bytes that are not UTF-8, in a body, in a path and as parameters`, async () => {
		for (const bytes of HEADS) {
			await refused(Buffer.from(`{"type":"client","tokenName":"a${bytes}b"}`, 'latin1'), NO_CHARACTER);
			await refused(Buffer.from(`{"${bytes}":1}`, 'latin1'), NO_CHARACTER);
			const escaped = [...Buffer.from(bytes, 'latin1')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
			for (const method of ['GET', 'DELETE']) await refused(Buffer.alloc(0), /cannot be decoded/, { 'x-original-method': method, 'x-original-uri': `${TOKENS}/a${escaped}` });
			await refused(Buffer.alloc(0), /cannot be decoded/, { 'x-original-method': 'GET', 'x-original-uri': `/auth?project=${escaped}` });
		}
	});

	// Bytes as they are, in the database's own encoding, as a client may send them that says it speaks it.
	await test(`${encoding}: any bytes in the parameters of every function, as the database's own text`, async () => {
		const raw = await connect(DATABASE);
		await raw.query(`SET client_encoding = '${encoding}'; SET log_error_verbosity = terse; SET ROLE unleash_tokens_admin`);
		const known = await fingerprint();
		const statements = ['SELECT unleash_tokens.validate_api_token($1::text)', 'SELECT unleash_tokens.delete_api_token($1::text)', 'SELECT unleash_tokens.get_api_tokens_by_name($1::text)',
			`SELECT unleash_tokens.update_api_token($1::text, '{"expiresAt": null}')`, 'SELECT * FROM unleash_tokens.validate_api_tokens(ARRAY[$1::text])', 'SELECT unleash_tokens.get_seen_at($1::text, NULL)',
			`SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', $1::text, 'environment', 'none'))`, `SELECT unleash_tokens.create_api_token(jsonb_build_object('type', $1::text, 'tokenName', 'n'))`,
			`SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', $1::text))`, `SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'projects', jsonb_build_array($1::text)))`,
			`SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'expiresAt', $1::text))`, `SELECT unleash_tokens.import_api_tokens(jsonb_build_array(jsonb_build_object('secret', $1::text, 'type', 'client', 'tokenName', '')))`];
		const bytes = fc.oneof(anyBytes, fc.constantFrom(...HEADS).map((text) => Buffer.from(text, 'latin1')), fc.string({ unit: 'binary', maxLength: 20 }).map((text) => Buffer.from(text, 'utf8')));
		counts.tried += await tryAll(1500, fc.tuple(fc.constantFrom(...statements), bytes), async ([statement, value]) => {
			// '*' is all projects
			if (value.toString('latin1') === '*') return;
			await raw.query({ text: statement, values: [value] }).catch((error) => {
				assert.ok(documentedStates.has(error.code) || ['22021', '22P05'].includes(error.code), `${statement}: ${error.code} ${error.message}`);
			});
		});
		assert.equal(await fingerprint(), known, 'something was stored');
		await assertServerSame(raw, before);
		await disconnect(raw);
	});

	await test(`${encoding}: projects and environments outside ASCII`, async () => {
		for (const name of NAMES.filter((text) => isGood(text) && [...text].length <= 100)) {
			await refused(utf8(JSON.stringify({ type: 'client', tokenName: 'n', project: name })), /no project|There is no|cannot be stored/);
			await refused(utf8(JSON.stringify({ type: 'client', tokenName: 'n', environment: name })), /no environment|There is no|cannot be stored/);
			if (!(await hasPlace(name))) continue;
			await client.query('INSERT INTO unleash_tokens.project (id) VALUES ($1)', [name]);
			await client.query('INSERT INTO unleash_tokens.environment (name) VALUES ($1)', [name]);
			const answer = await enter(utf8(JSON.stringify({ type: 'client', tokenName: name, project: name, environment: name })));
			await stored(answer, name);
			assert.deepEqual([answer.json.projects, answer.json.environment], [[name], name]);
			assert.ok(answer.json.secret.startsWith(`${name}:${name}.v2_`));
			assert.equal(JSON.parse(await one(client, 'SELECT unleash_tokens.validate_api_token($1)::text', [answer.json.secret])).tokenName, name);
			const auth = await enter(Buffer.alloc(0), { authorization: answer.json.secret, 'x-original-method': 'GET', 'x-original-uri': `/auth?project=${encodeURIComponent(name)}&environment=${encodeURIComponent(name)}` });
			assert.equal(auth.status, 204, `${JSON.stringify(name)}: ${auth.text}`);
			const found = await enter(Buffer.alloc(0), { 'x-original-method': 'GET', 'x-original-uri': `${TOKENS}/${encodeURIComponent(name)}` });
			assert.ok(found.json.tokens.some((token) => token.tokenName === name && token.environment === name), found.text);
		}
	});

	await test(`${encoding}: the server went through it all`, () => assertServerSame(client, before));
	console.log(`figure: ${encoding}: ${counts.tried} cases, ${counts.stored} tokens stored and answered as sent, ${counts.refused} refused and nothing stored`);
	await disconnect();
	await dropDatabase(DATABASE);
}
await disconnect();
finish();
