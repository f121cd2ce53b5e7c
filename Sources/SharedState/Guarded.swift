// A value that several threads share: behind one lock, and reached only while the lock is held.
//
// Promises: `Guarded` is the standard library's `Mutex`, with its cost and nothing else. A build for ThreadSanitizer
// (TOLLGATE_THREAD_SANITIZER in Package.swift) wraps it in one that this tool understands. There, too, the lock is that
// `Mutex`: what is examined is what is shipped (docs/decisions/2026-11-30-locks-that-threadsanitizer-sees.md).
import Synchronization

#if TOLLGATE_THREAD_SANITIZER
  /// A value behind a lock, whose order the sanitizer sees: whoever gets the lock comes after whoever had it before.
  public struct Guarded<Value: ~Copyable>: ~Copyable, Sendable {
    /// Says to the sanitizer what the lock does. A thread that had to wait got the lock inside the standard library,
    /// whose code the sanitizer does not see; this it does.
    @usableFromInline let turn = Atomic<Bool>(false)
    @usableFromInline let mutex: Mutex<Value>

    /// The value before any thread changes it.
    public init(_ value: consuming sending Value) { mutex = Mutex(value) }

    // Transparent as that of `Mutex`: a debug build then has no generic code here. Such code asks the Swift runtime for
    // types, under locks of the runtime, which would put threads into an order that ours does not give them.
    /// Runs `body` while this thread alone has the value.
    @_transparent public borrowing func withLock<Result: ~Copyable, Failure: Error>(
      _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
      try mutex.withLock { value throws(Failure) -> sending Result in
        _ = turn.load(ordering: .acquiring)
        defer { turn.store(true, ordering: .releasing) }
        return try body(&value)
      }
    }
  }
#else
  /// A value behind a lock.
  public typealias Guarded<Value: ~Copyable> = Mutex<Value>
#endif
