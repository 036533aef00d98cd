// What holds more than it shows, reaches beyond its cell, or cuts a choice; with `least`, words of pictures that are smaller.
// Pictures may scroll sideways, so that their words stay large.
(least) => {
    const PICTURE = '.timeline, .arena, .diagram, .qv-canvas';
    const faults = [], known = new Set(), { content } = window.jupyterapp.shell.currentWidget;
    const pen = document.createElement("canvas").getContext('2d');
    const pad = (style) => parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
    const inside = (node, edge) => { const box = node.getBoundingClientRect(); return box.left > edge.left - 2 && box.right < edge.right + 2; };
    const found = (node, edge) => {
        const style = getComputedStyle(node), { scrollWidth: wide, clientWidth: w, scrollHeight: high, clientHeight: h } = node;
        if (node.tagName === 'text') {
            const scale = node.getScreenCTM(), size = parseFloat(style.fontSize) * Math.hypot(scale.a, scale.b);
            return size < least - 0.05 ? `${size.toFixed(1)} px` : node.closest(PICTURE) || inside(node, edge) ? '' : 'beyond';
        }
        if (node.classList.contains('grid')) { // a tile alone in the last row, as wide as those above
            const [first, last] = [node.firstElementChild, node.lastElementChild].map((tile) => tile.getBoundingClientRect());
            const row = [...node.children].filter((tile) => tile.getBoundingClientRect().top === last.top);
            if (row.length === 1 && last.top > first.top && last.width < node.clientWidth - 2) return 'orphan';
        }
        if (node instanceof SVGElement || node.tagName === 'INPUT') return '';
        if (node.tagName === 'SELECT') {
            pen.font = style.font;
            const most = Math.max(...[...node.options].map((option) => pen.measureText(option.textContent).width));
            return most > w - pad(style) - 14 ? `choice ${most.toFixed()}/${w}` : '';
        }
        if ((style.overflowX !== 'visible' || ['TD', 'TH', 'DD'].includes(node.tagName)) && wide > w + 1 && !node.matches(PICTURE)) return `wide ${wide}/${w}`;
        if (style.overflowY !== 'visible' && high > h + 1) return `high ${high}/${h}`;
        return inside(node, edge) ? '' : 'beyond';
    };
    content.widgets.forEach((cell, number) => {
        for (const output of cell.node.querySelectorAll('.jp-OutputArea-output')) {
            const edge = output.getBoundingClientRect();
            for (const node of [output, ...output.querySelectorAll('*')]) {
                const seen = node.checkVisibility({ visibilityProperty: true }) && node.getBoundingClientRect().width;
                if (!seen || getComputedStyle(node).clipPath !== 'none' || node.closest('[class*=unseen], .gv-canvas svg, .st-canvas svg')) continue;
                const fault = known.has(node.parentElement) ? 'with it' : found(node, edge);
                if (fault) known.add(node);
                if (fault && fault !== 'with it') faults.push(`cell ${number}: ${fault}: ${node.tagName}.${node.getAttribute('class')} ${node.textContent.trim().slice(0, 40)}`);
            }
        }
    });
    return faults;
}
