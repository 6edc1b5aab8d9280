// What a client's author may rely on in the types that a generator makes of the OpenAPI document.
// Compiled by `make lint` beside those types, never run; lines below @ts-expect-error must not compile.
import type { components, operations } from "./api";

type Schemas = components["schemas"];
type Body<Name extends keyof operations> = operations[Name] extends {
  requestBody: { content: { "application/json": infer T } };
}
  ? T
  : never;
type Answer<Name extends keyof operations, Status extends number> = operations[Name] extends {
  responses: { [S in Status]: { content: { "application/json": infer T } } };
}
  ? T
  : never;

// A request has what the rules ask for, and may leave out the rest.
const article: Body<"CreateArticle"> = { article: { title: "a", description: "b", body: "c" } };
article.article.tagList = ["intro"];
// @ts-expect-error: the body is missing
const incomplete: Body<"CreateArticle"> = { article: { title: "a", description: "b" } };

// What is in the path is not in the body.
const message: Body<"SendMessage"> = { message: { text: "hello" } };
const path: operations["SendMessage"]["parameters"]["path"] = { room: "7" };
// @ts-expect-error: 64-bit integers are strings
path.room = 7;

// An answer always has what the gateway always prints.
declare const user: Answer<"CreateUser", 201>;
export function token(): string | undefined {
  const bio: string | null | undefined = user.user?.bio;
  return bio ?? user.user?.token;
}

declare const list: Answer<"ListArticles", 200>;
export const titles: string[] = list.articles.map((each) => each.title);
export const count: number = list.articlesCount;

// Every error is a problem, and has `errors`.
declare const problem: Schemas["Problem"];
export const messages: string[] = Object.values(problem.errors).flat();

export const unused = [article, incomplete, message];
