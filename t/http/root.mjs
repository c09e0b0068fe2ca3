#!/usr/bin/env node
// The files of http/ as root starts them: nginx gives its workers a user who reaches PostgREST's socket, writes nothing where
// PostgREST's user could put a link, and says why it is 503.

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { TOKENS, assert, assertRefusal, assertStatus, env, finish, freePort, keyed, poll, postgrest, root, send, skip, test, useEnv } from './lib.mjs';

useEnv();
process.env.PATH += ':/usr/local/sbin:/usr/sbin:/sbin';	// where nginx is

const delivered = (name) => readFileSync(path.join(root, 'http', name), 'utf8');

async function main() {
	const dir = mkdtempSync(path.join(os.tmpdir(), 'unleash_root.')), started = [];
	const { command, environment, uid: owner, gid } = postgrest();
	const asOwner = (...more) => ['setpriv', '--reuid', String(owner), '--regid', String(gid), '--clear-groups', '--', ...more];
	const start = ([program, ...more], options = {}) => started.push(spawn(program, more, { stdio: 'ignore', ...options })) && started.at(-1);
	const end = async (child) => {
		child.kill('SIGTERM');
		await poll('it has ended', 15000, () => child.exitCode !== null || child.signalCode !== null);
	};
	try {
		chmodSync(dir, 0o755);
		for (const part of ['conf', 'log', 'run', 'docs']) mkdirSync(path.join(dir, part));
		// the directory of PostgREST's socket, by the command that place-main.conf names
		const [, group, mode] = delivered('place-main.conf').match(/install -d -o unleash_tokens -g (\S+) -m (\d+) \/run\/unleash_tokens/);
		const sockets = path.join(dir, 'run/unleash_tokens');
		execFileSync('install', ['-d', '-o', String(owner), '-g', group, '-m', mode, sockets]);
		const port = await freePort();
		for (const name of readdirSync(path.join(root, 'http')).filter((one) => one.endsWith('.conf'))) {
			let text = delivered(name);
			if (name.startsWith('place-'))
				text = text.replaceAll('/run/', `${dir}/run/`).replaceAll('/var/log/nginx', `${dir}/log`).replaceAll('/usr/share/unleash_tokens', `${dir}/docs`).replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`);
			writeFileSync(path.join(dir, 'conf', name), text);
		}
		const startPostgrest = (more = {}) => start(asOwner(...command), { env: { ...process.env, ...environment, PGRST_SERVER_UNIX_SOCKET: `${sockets}/postgrest.sock`, ...more } });
		let server = startPostgrest();

		// what the owner of the directory could have put there
		const victim = path.join(dir, 'victim');
		writeFileSync(victim, 'of root\n');
		for (const name of ['nginx.pid', 'nginx-unleash_tokens.pid']) execFileSync(asOwner()[0], asOwner('ln', '-s', victim, path.join(sockets, name)).slice(1));

		await poll('PostgREST is there', 20000, () => existsSync(`${sockets}/postgrest.sock`));
		const nginx = start(['nginx', '-e', `${dir}/log/start.log`, '-c', `${dir}/conf/nginx.conf`, '-g', 'daemon off;']);
		const at = `http://127.0.0.1:${port}`;
		const ask = (...more) => send('GET', '/health', {}, undefined, at, ...more);
		await poll('nginx listens', 15000, () => ask().then(() => true, () => false));

		await test('as root: the workers are not root, and reach PostgREST', async () => {
			const workers = readFileSync(`/proc/${nginx.pid}/task/${nginx.pid}/children`, 'utf8').trim().split(' ');
			for (const worker of workers) assert.equal(execFileSync('id', ['-nu', String(statSync(`/proc/${worker}`).uid)], { encoding: 'utf8' }).trim(), 'www-data');
			await poll('it answers', 15000, async () => (await ask()).status === 200);
			assertStatus(await send('GET', TOKENS, keyed(), undefined, at), 200);
			assert.equal(statSync(`${sockets}/postgrest.sock`).mode & 0o007, 0, 'the socket is open to all');
		});
		await test('as root: nginx writes through no link of another user', () => {
			assert.equal(readFileSync(victim, 'utf8'), 'of root\n');
			assert.match(readFileSync(`${dir}/run/nginx-unleash_tokens.pid`, 'utf8'), new RegExp(`^${nginx.pid}\n$`));
		});
		// what PostgREST is told wrongly, and the reason that is logged for it
		const log = () => readFileSync(`${dir}/log/unleash_tokens.access.log`, 'utf8');
		for (const [what, wrong, reason] of [
			['PostgREST is not there', null, 'cannot_connect'],
			['another schema', { PGRST_DB_SCHEMAS: 'public' }, 'entry_not_found'],
			['a role without grants', { PGRST_DB_ANON_ROLE: 'unleash_tokens_admin' }, 'not_permitted_run_roles\\.sql'],
		])
			await test(`503 in our shape, and a line in the log that says why: ${what}`, async () => {
				await end(server);
				rmSync(`${sockets}/postgrest.sock`, { force: true });
				if (wrong) {
					server = startPostgrest(wrong);
					await poll('PostgREST is there', 20000, async () => existsSync(`${sockets}/postgrest.sock`));
					await poll('it has read what it can', 20000, async () => (await ask()) && log().trimEnd().match(`${reason}$`));
				}
				for (const [method, target] of [['GET', TOKENS], ['DELETE', `${TOKENS}/${env.ADMIN_TOKEN}`], ['GET', `/none?key=${env.ADMIN_TOKEN}`]]) {
					const answer = await send(method, target, keyed(), undefined, at);
					assertRefusal(answer, 503, 'UnavailableError', { challenged: true });
					assert.equal(answer.headers('Retry-After').length, 1);
					await poll('the line of this answer', 5000, () => log().split('\n').some((line) => line.includes(answer.json.id) && line.match(` 503 .* ${reason}$`)));
				}
				for (const name of readdirSync(`${dir}/log`)) assert.ok(!readFileSync(`${dir}/log/${name}`, 'utf8').includes(env.ADMIN_TOKEN), `${name} holds a key`);
			});
	} finally {
		for (const child of started.reverse()) if (child.exitCode === null && child.signalCode === null) await end(child);
		rmSync(dir, { recursive: true });
	}
}

if (process.getuid() === 0) await main();
else skip('nginx started by root', 'this is another user');
finish();
