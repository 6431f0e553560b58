// An OpenID Connect provider with one client, and an account for each login that is entered. The settings are an
// argument, as JSON.
import Provider from "oidc-provider";

const { issuer, clientId, clientSecret, method, returnUrl, signedOutUrl, claims } = JSON.parse(process.argv[2]);

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: [returnUrl],
    post_logout_redirect_uris: [signedOutUrl],
    token_endpoint_auth_method: method,
  }],
  clientAuthMethods: [method],
  claims: {
    openid: ["sub"],
    profile: ["name", "preferred_username"],
    email: ["email", "email_verified"],
    groups: ["groups"],
  },
  pkce: { required: () => true },
  findAccount: (context, login) => ({ accountId: login, claims: () => ({ ...claims, sub: login }) }),
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
});

provider.listen(Number(new URL(issuer).port), "127.0.0.1");
