/** What a drawing has to follow that is not its data: how wide it is, and whether the page is light or dark. */
import { useEffect, useLayoutEffect, useState } from "preact/hooks";

export function useWidth(element: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const watched = element.current;
    if (!watched) return undefined;
    setWidth(watched.clientWidth);
    const observer = new ResizeObserver(() => setWidth(watched.clientWidth));
    observer.observe(watched);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** A number that changes when colours do. */
export function useLooks(): number {
  const [looks, setLooks] = useState(0);
  useEffect(() => {
    const changed = (): void => setLooks((old) => old + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", changed);
    const observer = new MutationObserver(changed);
    observer.observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["data-theme", "class"],
    });
    return () => {
      dark.removeEventListener("change", changed);
      observer.disconnect();
    };
  }, []);
  return looks;
}
