/** Filters stand above what they filter, are kept in the address, and say how much they leave. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Icon } from "./icon";

export function Filters({ children, said }: { children: ComponentChildren; said?: string }) {
  return (
    <div class="filters" role="search">
      {children}
      {said !== undefined && (
        <span class="filters-said muted" aria-live="polite">
          {said}
        </span>
      )}
    </div>
  );
}

export function SearchField({
  value,
  onInput,
  label,
  placeholder = label,
}: {
  value: string;
  onInput: (value: string) => void;
  label: string;
  placeholder?: string;
}) {
  return (
    <span class="search">
      <Icon name="search" size={14} />
      <input
        class="input"
        type="search"
        aria-label={label}
        placeholder={placeholder}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </span>
  );
}

export interface Choice {
  value: string;
  title: string;
}

/** One of several; the empty value is "all". */
export function Select({
  value,
  onChange,
  label,
  choices,
  all,
}: {
  value: string;
  onChange: (value: string) => void;
  label: string;
  choices: readonly (string | Choice)[];
  all?: string;
}) {
  const id = useId();
  return (
    <span class="select">
      <label for={id}>{label}</label>
      <select id={id} class="input" value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {all !== undefined && <option value="">{all}</option>}
        {choices.map((choice) => {
          const { value: given, title } =
            typeof choice === "string" ? { value: choice, title: choice } : choice;
          return (
            <option key={given} value={given}>
              {title}
            </option>
          );
        })}
      </select>
    </span>
  );
}
