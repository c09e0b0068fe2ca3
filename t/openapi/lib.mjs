// What the suites here share: counting, the env file of bin/serve, and HTTP that sends what it is told.

import http from 'node:http';
import net from 'node:net';
import { readFileSync } from 'node:fs';
import { spawn, spawnSync } from 'node:child_process';

const counts = { passed: 0, failed: 0 };

export async function test(name, body) {
	try {
		await body();
		counts.passed++;
		console.log(`ok - ${name}`);
	} catch (error) {
		counts.failed++;
		console.log(`not ok - ${name}`);
		const text = error?.code === 'ERR_ASSERTION' || !error?.stack ? String(error?.message ?? error) : error.stack;
		console.log(text.replace(/^/gm, '    '));
	}
}

export function finish() {
	console.log(`${counts.passed} passed, ${counts.failed} failed`);
	process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
}

// The file that bin/serve writes: NAME='value' a line.
export function readEnv(file) {
	if (file === undefined) throw new Error('give the env file that bin/serve writes, as in .serve/env');
	const found = {};
	for (const line of readFileSync(file, 'utf8').split('\n')) {
		const match = line.match(/^(?:export )?(\w+)=(?:'(.*)'|"(.*)"|(.*))$/);
		if (match) found[match[1]] = match[2] ?? match[3] ?? match[4];
	}
	return found;
}

// {status, headers: pairs, body}.  A refusal may come, and the connection go, before all of a large body has left.
export function send(base, method, path, headers = {}, body = undefined) {
	return new Promise((resolve, reject) => {
		const all = { ...headers };
		if (body !== undefined) all['Content-Length'] = Buffer.byteLength(body);
		else if (method === 'POST' || method === 'PUT') all['Content-Length'] = 0;
		const { hostname, port } = new URL(base);
		let answer;
		const request = http.request({ hostname, port, method, path, headers: all, agent: false }, (response) => {
			const chunks = [];
			const pairs = [];
			for (let i = 0; i < response.rawHeaders.length; i += 2) pairs.push([response.rawHeaders[i], response.rawHeaders[i + 1]]);
			answer = { status: response.statusCode, headers: pairs, body: '' };
			response.on('data', (chunk) => chunks.push(chunk));
			response.on('end', () => resolve({ ...answer, body: Buffer.concat(chunks).toString('utf8') }));
			response.on('error', reject);
		});
		request.setTimeout(30000, () => request.destroy(new Error(`no answer to ${method} ${path} within 30 s`)));
		request.on('error', (error) => answer ?? reject(error));
		request.end(body);
	});
}

// One statement, or several, as the superuser.
export function sql(env, text) {
	const { PGHOST, PGPORT, PGDATABASE, PGUSER } = env;
	const result = spawnSync('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'], {
		input: text, encoding: 'utf8', env: { ...process.env, PGHOST, PGPORT, PGDATABASE, PGUSER } });
	if (result.status !== 0) throw new Error(`psql: ${result.error?.message ?? result.stderr}`);
	return result.stdout.trim();
}

export function freePort() {
	return new Promise((resolve, reject) => {
		const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
			const { port } = server.address();
			server.close(() => resolve(port));
		});
	});
}

// Starts a program and waits until ready() is true; the returned function stops it and waits for its end.
export async function start(command, args, ready) {
	let errors = '';
	const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
	child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
	const ended = new Promise((resolve) => child.on('close', resolve).on('error', (error) => resolve((errors += error.message))));
	let gone = false;
	ended.then(() => (gone = true));
	for (const deadline = Date.now() + 20000; !(await ready().catch(() => false)); ) {
		if (gone || Date.now() > deadline) {
			child.kill();
			throw new Error(`${command} did not start: ${errors}`);
		}
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
	return async () => {
		child.kill();
		await ended;
	};
}
