// What could be wrong with this server?  The findings of doctor(), the bad ones first.

import { getFindings } from './api.js';
import { announce, h, problem } from './dom.js';

const KINDS = [['error', 'Error', 'error'], ['warning', 'Warning', 'warning'], ['unknown', 'Unknown', 'faint'], ['ok', 'Fine', 'good']];

export function healthView() {
	const place = h('div');
	const run = h('button', { type: 'button', onclick: load }, 'Look again');

	const item = (finding, label, kind) => h('li.finding', h(`span.badge.${kind}`, label), h('div', h('h2', finding.check.replaceAll('_', ' ')), h('p', finding.detail), finding.hint && h('p.hint', finding.hint)));

	async function load() {
		run.disabled = true;
		place.replaceChildren(h('p.progress', h('progress', { 'aria-label': 'Looking' }), ' Looking at settings, rights and tables. With a million tokens it takes seconds.'));
		try {
			const { findings } = await getFindings();
			const bad = findings.filter(({ status }) => status !== 'ok');
			const list = (of) => h('ul.findings', KINDS.flatMap(([status, label, kind]) => of.filter((finding) => finding.status === status).map((finding) => item(finding, label, kind))));
			place.replaceChildren(
				h('p.summary', bad.length === 0 ? `All ${findings.length} checks are fine.` : `${bad.length} of ${findings.length} checks found something.`), list(bad),
				h('details', { open: bad.length === 0 }, h('summary', `${findings.length - bad.length} checks without a finding`), list(findings.filter(({ status }) => status === 'ok'))));
			announce(place.firstChild.textContent);
		} catch (error) {
			place.replaceChildren(problem(error, load));
		}
		run.disabled = false;
	}

	load();
	return h('section', { 'aria-labelledby': 'health-title' }, h('div.title', h('h1', { id: 'health-title' }, 'Health'), run), place);
}
