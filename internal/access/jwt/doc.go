// Package jwt checks JSON Web Tokens (RFC 7519) that clients send as their password, and the keys they are signed with.
package jwt
