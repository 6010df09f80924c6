/**
 * What pages are made of. Use these before writing new ones; their classes are in src/styles/parts.css.
 *
 *     <PageHeader title="Workers" sub="...">buttons</PageHeader>   <Panel title="..." side={...} flush>...</Panel>
 *     <Answer of={useQuery(...)} what="workers">{(data) => ...}</Answer>     loading, refused, failed, stale and data, once
 *     <Table label columns={[{ key, title, cell, sort?, end?, wide? }]} rows keyOf href? onOpen? sorted="-load" />
 *     <LevelBadge level /> <StateBadge state tone /> <Stat label value sub /> <Bar value max label text /> <Sparkline values label />
 *     <Empty title>why</Empty> <ErrorNote error onRetry /> <Note tone>...</Note> <Loading lines what />
 *     <Confirm title verb danger reason busy onConfirm onClose>...</Confirm> <Dialog title side onClose>...</Dialog>
 *     <Filters said><SearchField .../><Select .../></Filters> <RelativeTime atMs /> <Copy text /> <Code text label /> <Icon name />
 *     duration(ms) count(n) bytes(n) percent(share) named("provider_health") plural(n, "row") brief(id) DASH ageOf(ms) nowMs
 */
export { Confirm, Dialog } from "./confirm";
export { Code, Copy } from "./copy";
export { Bar, Sparkline } from "./figures";
export { type Choice, Filters, SearchField, Select } from "./filters";
export { PageHeader, Panel, Stat } from "./header";
export { Icon, type IconName } from "./icon";
export { iconOf, LevelBadge, severityOf, StateBadge, type Tone, toneOf, wordOf } from "./level";
export { Answer, Empty, ErrorNote, Loading, Note } from "./notes";
export { type Column, inOrder } from "./order";
export { Table } from "./table";
export { ageOf, nowMs, RelativeTime } from "./time";
export { brief, bytes, count, DASH, duration, kindOf, named, percent, plural } from "./words";
