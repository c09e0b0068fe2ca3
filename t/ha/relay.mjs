#!/usr/bin/env node
// TCP connections handed on, for a test that stops this process: then they are accepted and nothing comes of them, as on a network
// that loses what it is given.  Arguments: LISTEN=TARGET, each an address with a port.

import net from 'node:net';

for (const [from, to] of process.argv.slice(2).map((pair) => pair.split('=').map((one) => one.split(':')))) {
	net.createServer((here) => {
		const there = net.connect(Number(to[1]), to[0]);
		for (const [one, other] of [[here, there], [there, here]]) one.pipe(other).on('error', () => {}), one.on('error', () => other.destroy());
	}).listen(Number(from[1]), from[0]);
}
