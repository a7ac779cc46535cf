// An OpenID Connect provider on the loopback interface: node server.mjs PORT
//
// Users log in at its own pages with any password; three clients stand for Pileus, for command-line tools and for
// somebody else. "password" is the one grant that the library lacks and OpenStack's clients know.
import { generateKeyPairSync } from "node:crypto";
import Provider, { errors } from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const users = {
  ann: { preferred_username: "ann", email: "ann@example.org", groups: ["developers", "testers"] },
  bob: { preferred_username: "bob", email: "bob@example.org", groups: ["developers;admins", "['admins']"] },
  eve: { preferred_username: "ann", email: "eve@example.org", groups: [] },
};

function jwk(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: "jwk" }), kid: alg, alg, use: "sig" };
}

const client = (client_id, grant_types, more) => ({
  client_id,
  client_secret: `secret of ${client_id}`,
  grant_types,
  response_types: grant_types.includes("authorization_code") ? ["code"] : [],
  redirect_uris: [],
  ...more,
});

const provider = new Provider(issuer, {
  clients: [
    client("pileus", ["authorization_code"], { redirect_uris: JSON.parse(process.env.REDIRECT_URIS ?? "[]") }),
    client("pileus-es", ["authorization_code"], {
      redirect_uris: JSON.parse(process.env.REDIRECT_URIS ?? "[]"),
      id_token_signed_response_alg: "ES256",
      token_endpoint_auth_method: "client_secret_post",
    }),
    client("cli", ["authorization_code", "client_credentials", "password"], {
      redirect_uris: ["http://127.0.0.1:1/callback"],
    }),
    client("stranger", ["client_credentials", "password"]),
  ],
  jwks: { keys: [jwk("rsa", { modulusLength: 2048 }, "RS256"), jwk("ec", { namedCurve: "P-256" }, "ES256")] },
  cookies: { keys: ["a key for cookies of the tests"] },
  scopes: ["openid", "profile", "email"],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"], email: ["email"] },
  pkce: { required: () => false },
  async findAccount(_context, sub) {
    return { accountId: sub, claims: () => ({ sub, ...users[sub] }) };
  },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    // A client that asks for the resource urn:cloud gets JWT access tokens for it; without, opaque ones.
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_context, indicator) => ({
        scope: "openid profile email",
        audience: indicator,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});

provider.registerGrantType(
  "password",
  async (ctx) => {
    const { username, password, scope, resource } = ctx.oidc.params;
    if (!users[username] || password !== `password of ${username}`) throw new errors.InvalidGrant("wrong password");
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: username });
    grant.addOIDCScope(scope ?? "openid");
    if (resource) grant.addResourceScope(resource, scope ?? "openid");
    const grantId = await grant.save();
    const AccessToken = provider.AccessToken;
    const token = new AccessToken({
      accountId: username,
      client: ctx.oidc.client,
      grantId,
      gty: "password",
      scope: scope ?? "openid",
    });
    if (resource) {
      const info = { scope: scope ?? "openid", audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "ES256" } } };
      token.resourceServer = new provider.ResourceServer(resource, info);
    }
    const idToken = new provider.IdToken({ sub: username, ...users[username] }, { ctx });
    idToken.scope = scope ?? "openid";
    ctx.body = {
      access_token: await token.save(),
      id_token: await idToken.issue({ use: "idtoken" }),
      token_type: "Bearer",
      expires_in: token.expiration,
    };
  },
  ["username", "password", "scope", "resource"],
);

provider.on("server_error", (_context, error) => console.error(error));
provider.listen(port, "127.0.0.1", () => console.log(`listening on ${issuer}`));
