/// What became of the claim to an idempotency key.
public enum IdempotencyClaim: Hashable, Sendable {
  /// It is the caller's: do the work, then finish or release it.
  case claimed
  /// It was done; the answer as it was kept, nil where it was not.
  case finished(answer: String?)
  /// The key belongs to another request.
  case otherRequest
  /// The first request isn't finished.
  case running
}
