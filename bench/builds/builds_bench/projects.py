"""The projects, and how each is made.

`create` is a shell script that starts in an empty folder and leaves the project in `site/`. It uses the
framework's own starter where that comes from a package registry; starters that clone a repository are
written out here as they would have been. `lock` makes the lockfile without installing anything.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Project:
    name: str
    create: str
    lock: str = "npm install --package-lock-only"
    # Sent with the deployment, as `gv deploy` takes it.
    options: tuple = ()
    # Programs that the machine must have.
    needs: tuple = ()
    # A word that the start page shows once its scripts have run.
    shows: str = ""


def vite(template):
    return f"npx -y create-vite@latest site --template {template} --no-interactive"


PACKAGE = """mkdir -p site && cd site && npm init -y >/dev/null && npm pkg delete main scripts.test type && \
npm pkg set private=true --json"""

ASTRO = f"""{PACKAGE}
npm pkg set type=module scripts.build="astro build" dependencies.astro=latest
mkdir -p src/pages src/layouts
cat > astro.config.mjs <<'END'
import {{ defineConfig }} from 'astro/config';
export default defineConfig({{}});
END
cat > src/pages/index.astro <<'END'
---
const name = 'Astro';
---
<html lang="en"><head><meta charset="utf-8"><title>{{name}}</title></head>
<body><h1>Hello from {{name}}</h1><p id="t"></p><script>document.getElementById('t').textContent = 'ran';</script></body></html>
END
"""

ELEVENTY = f"""{PACKAGE}
npm pkg set scripts.build=eleventy devDependencies.@11ty/eleventy=latest
printf -- '---\\ntitle: Hello\\n---\\n# Hello from Eleventy\\n' > index.md
"""

VITEPRESS = f"""{PACKAGE}
npm pkg set type=module scripts.docs:build="vitepress build docs" devDependencies.vitepress=latest
npm pkg set scripts.build="vitepress build docs"
mkdir -p docs/.vitepress
echo "export default {{ title: 'Docs', description: 'Hello' }}" > docs/.vitepress/config.mjs
printf -- '---\\nlayout: home\\nhero:\\n  name: Hello from VitePress\\n---\\n' > docs/index.md
printf '# Guide\\n\\nSome text.\\n' > docs/guide.md
"""

NEXT = """npx -y create-next-app@latest site --ts --no-eslint --no-tailwind --app --no-src-dir --skip-install --disable-git --yes --use-npm
cd site
cat > next.config.ts <<'END'
import type { NextConfig } from "next";
const nextConfig: NextConfig = { output: "export", images: { unoptimized: true } };
export default nextConfig;
END
# Its fonts come from a host of their own at build time.
cat > app/layout.tsx <<'END'
import type { Metadata } from "next";
import "./globals.css";
export const metadata: Metadata = { title: "Create Next App" };
export default function RootLayout({ children }: Readonly<{ children: React.ReactNode }>) {
  return (<html lang="en"><body>{children}</body></html>);
}
END
"""

SVELTEKIT = """npx -y sv@latest create site --template minimal --types ts --no-add-ons --no-install
cd site
sed -i 's/adapter-auto/adapter-static/' svelte.config.js vite.config.ts package.json 2>/dev/null || true
npm pkg set devDependencies.@sveltejs/adapter-static=^3
echo 'export const prerender = true;' > src/routes/+layout.ts
"""

NUXT = f"""{PACKAGE}
npm pkg set type=module scripts.build="nuxt build" scripts.generate="nuxt generate" dependencies.nuxt=latest dependencies.vue=latest dependencies.vue-router=latest
echo "export default defineNuxtConfig({{ compatibilityDate: '2025-07-15' }})" > nuxt.config.ts
mkdir -p app
echo '<template><div><h1>Hello from Nuxt</h1></div></template>' > app/app.vue
"""

ANGULAR = "npx -y @angular/cli@latest new site --skip-install --skip-git --defaults --style=css --ssr=false"

CRA = f"""{PACKAGE}
npm pkg set scripts.build="react-scripts build" dependencies.react=^18 dependencies.react-dom=^18 dependencies.react-scripts=5.0.1
npm pkg set --json browserslist='["last 1 chrome version"]' eslintConfig='{{"extends": ["react-app"]}}'
mkdir -p public src
echo '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>React App</title></head><body><div id="root"></div></body></html>' > public/index.html
cat > src/index.js <<'END'
import React from 'react';
import ReactDOM from 'react-dom/client';
// A warning, as real projects have them.
const unused = 1;
ReactDOM.createRoot(document.getElementById('root')).render(<h1>Hello from React</h1>);
END
"""

REACT_ROUTER = f"""{PACKAGE}
npm pkg set type=module scripts.build="react-router build" dependencies.react=^19 dependencies.react-dom=^19
npm pkg set dependencies.react-router=7.18.4 dependencies.@react-router/node=7.18.4 dependencies.isbot=^5 devDependencies.@react-router/dev=7.18.4 devDependencies.vite=^7 devDependencies.typescript=^5
cat > react-router.config.ts <<'END'
import type {{ Config }} from "@react-router/dev/config";
export default {{ ssr: false }} satisfies Config;
END
cat > vite.config.ts <<'END'
import {{ reactRouter }} from "@react-router/dev/vite";
import {{ defineConfig }} from "vite";
export default defineConfig({{ plugins: [reactRouter()] }});
END
mkdir -p app/routes
cat > app/root.tsx <<'END'
import {{ Links, Meta, Outlet, Scripts, ScrollRestoration }} from "react-router";
export function Layout({{ children }}: {{ children: React.ReactNode }}) {{
  return (<html lang="en"><head><meta charSet="utf-8" /><link rel="icon" href="data:," /><Meta /><Links /></head>
    <body>{{children}}<ScrollRestoration /><Scripts /></body></html>);
}}
export function HydrateFallback() {{ return <p>Loading</p>; }}
export default function App() {{ return <Outlet />; }}
END
cat > app/routes.ts <<'END'
import {{ type RouteConfig, index }} from "@react-router/dev/routes";
export default [index("routes/home.tsx")] satisfies RouteConfig;
END
echo 'export default function Home() {{ return <h1>Hello from React Router</h1>; }}' > app/routes/home.tsx
"""

PNPM_WORKSPACE = """mkdir -p site/apps site/packages/words && cd site
echo '{"name": "workspace", "private": true}' > package.json
printf 'packages:\\n  - apps/*\\n  - packages/*\\n' > pnpm-workspace.yaml
printf '[build]\\nroot_dir = "apps/web"\\n' > gv.toml
echo '{"name": "@site/words", "version": "1.0.0", "private": true, "type": "module", "exports": "./index.js"}' > packages/words/package.json
echo 'export const greeting = "Hello from a workspace";' > packages/words/index.js
(cd apps && npx -y create-vite@latest web --template vanilla --no-interactive)
cd apps/web
npm pkg set dependencies.@site/words='workspace:*'
cat > src/main.js <<'END'
import { greeting } from '@site/words';
document.querySelector('#app').textContent = greeting;
END
"""

HUGO = """mkdir -p site && cd site
printf "baseURL = '/'\\ntitle = 'Hello'\\n" > hugo.toml
# The name that versions before 0.110 know.
printf "baseURL = '/'\\ntitle = 'Hello'\\n" > config.toml
mkdir -p layouts/_default content
echo '<!doctype html><title>{{ .Title }}</title><h1>Hello from Hugo</h1>{{ .Content }}' | tee layouts/index.html layouts/_default/list.html > layouts/_default/single.html
printf -- '---\\ntitle: One\\n---\\nSome text.\\n' > content/one.md
"""

MKDOCS = """mkdir -p site/docs && cd site
echo 'site_name: Hello' > mkdocs.yml
printf '# Hello from MkDocs\\n\\nSome text.\\n' > docs/index.md
"""

# Its own theme takes a script from another host otherwise, which is no matter of gv's.
MKDOCS_OWN = MKDOCS + """printf 'theme:\\n  name: mkdocs\\n  highlightjs: false\\n' >> mkdocs.yml
"""

MKDOCS_MATERIAL = MKDOCS + """printf 'theme:\\n  name: material\\n  font: false\\n' >> mkdocs.yml
printf 'mkdocs<2\\nmkdocs-material<10\\n' > requirements.txt
"""

HTML = """mkdir -p site && cd site
echo '<!doctype html><title>Hello</title><link rel=icon href=data:,><link rel=stylesheet href=style.css><h1>Hello from HTML</h1>' > index.html
echo 'h1 { color: green }' > style.css
"""

YARN_4 = "npx -y -p @yarnpkg/cli-dist@4 yarn install --mode=update-lockfile"
YARN_1 = "npx -y yarn@1 install --ignore-scripts && rm -rf node_modules"

PROJECTS = [
    Project("html", HTML, lock="", shows="Hello from HTML"),
    Project("vite-react-ts", vite("react-ts")),
    Project("vite-vue-ts", vite("vue-ts")),
    Project("vite-svelte-ts", vite("svelte-ts")),
    Project("eleventy", ELEVENTY, shows="Hello from Eleventy"),
    Project("astro", ASTRO, shows="ran"),
    Project("vitepress", VITEPRESS, shows="Hello from VitePress"),
    Project("sveltekit", SVELTEKIT),
    Project("react-router", REACT_ROUTER, shows="Hello from React Router"),
    Project("nextjs", NEXT),
    Project("nuxt", NUXT, shows="Hello from Nuxt"),
    Project("angular", ANGULAR),
    Project("docusaurus", "npx -y create-docusaurus@latest site classic --javascript --skip-install --package-manager npm"),
    Project("cra", CRA, shows="Hello from React"),
    Project("pnpm", vite("react-ts"), lock="npx -y pnpm@10 install --lockfile-only"),
    Project("yarn-4", vite("vue-ts"), lock=YARN_4),
    Project("yarn-1", vite("vanilla-ts"), lock=YARN_1),
    Project("bun", vite("solid-ts"), lock="npx -y bun@1 install --lockfile-only"),
    Project("no-lockfile", vite("preact-ts"), lock=""),
    Project("pnpm-workspace", PNPM_WORKSPACE, lock="npx -y pnpm@10 install --lockfile-only",
            shows="Hello from a workspace"),
    Project("hugo", HUGO, lock="", needs=("hugo",), shows="Hello from Hugo"),
    Project("mkdocs", MKDOCS_OWN, lock="", needs=("mkdocs",), shows="Hello from MkDocs"),
    Project("mkdocs-material", MKDOCS_MATERIAL, lock="", needs=("python3",), shows="Hello from MkDocs"),
]
